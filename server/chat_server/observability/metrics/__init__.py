"""Prometheus metrics and health checks: the table of metrics, snapshots, exposition, and the HTTP endpoint.

Imports `core`, `net` (for its counters), `observability` and `chat_protocol`; never changes anything in them.
Open `table.py` first.
"""
