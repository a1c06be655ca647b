"""The event log as a table: input files, columns, filters, views in DuckDB.

Imports `table` and the server's vocabulary.
Open `event_log.py` first.
"""
