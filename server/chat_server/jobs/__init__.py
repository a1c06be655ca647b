"""Greenlets beside the connections: commits, backfill, ticks, maintenance of the store; the drain at a stop.

Imports `core`, `engines`, `net`, `observability`, `vocabulary` and `chat_protocol`; only `app.py` imports it.
Open `commit_loop.py` first.
"""
