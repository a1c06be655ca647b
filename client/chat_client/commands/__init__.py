"""Subcommands for scripts: send, tail, rtt.

Imports `chat_cli`, `client` and its `errors` and `events`, `follow`, `text`, `options`, `base`, the type
`Pending` of `connection`, and `chat_protocol`; never `terminal`.
Open `send.py` first.
"""
