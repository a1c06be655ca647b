"""`chat-logs follow`: the present state of a server from its growing log.

Imports `log`, `stats` and `output`.
Open `follow.py` first.
"""
