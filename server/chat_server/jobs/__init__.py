"""Greenlets that run beside the connections: commits, maintenance of the store, backfill.

Imports `core`, `engines`, `observability`, `vocabulary` and constants of `net`; only `app.py` imports it.
Open `commit_loop.py` first.
"""
