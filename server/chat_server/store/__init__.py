"""Where messages exist: a log that gives out seqs. One engine a file, chosen by URL."""
