"""Named metrics of a log, and the bounds that a comparison must keep.

Imports `log`, `stats` and `chat_server.vocabulary`.
Open `metric_refs.py` first.
"""
