"""Subcommands for scripts: send, tail, rtt.

Imports `client`, `text` and `options`; never `terminal`.
Open `send.py` first.
"""
