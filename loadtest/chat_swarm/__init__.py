"""The swarm: a load generator of thousands of bots on real sockets, which measures its own lag apart."""
