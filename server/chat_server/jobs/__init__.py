"""Greenlets that run besides the connections: commits, maintenance of the store, backfill.

Imports `core`, `engines`, `observability` and constants of `net`; only `app.py` imports it.
Open `commit_loop.py` first.
"""
