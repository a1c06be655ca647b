"""The SQLite engine: an append-only log, an index derived from it, and threads that read both.

Imports `core/ports`, `engines/engine.py` and `chat_protocol`, and nothing else of the server.
Open `log.py` first, then `reader.py` and `index.py`.
"""
