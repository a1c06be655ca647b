"""The SQLite engine: an append-only log, a derived index, and one reader thread.

Imports `core/ports` and `core/delivery/batch`; never `net` or `observability`.
Open `log.py` first, then `reader.py`.
"""
