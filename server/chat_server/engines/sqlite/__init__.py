"""The SQLite engine: an append-only log, an index derived from it, and one reader thread.

Imports `core/ports` and `chat_protocol`, and nothing else of the server.
Open `log.py` first, then `reader.py`.
"""
