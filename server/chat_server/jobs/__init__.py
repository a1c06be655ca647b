"""Greenlets that run beside the connections: commits, maintenance, backfill.

Imports `core`, `engines` and `observability`.
Open `commit_loop.py` first.
"""
