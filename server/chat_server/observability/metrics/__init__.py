"""Prometheus metrics and health: the table, snapshots, exposition, and the HTTP endpoint.

Imports `core`, `net` counters and `observability`.
Open `table.py` first.
"""
