"""The event log as a table: input files, columns, filters, views in DuckDB.

Imports `table`, `chat_cli` and `chat_server.vocabulary`.
Open `event_log.py` first.
"""
