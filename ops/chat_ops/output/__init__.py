"""How tables are shown: for a terminal, as JSON lines, as CSV."""
