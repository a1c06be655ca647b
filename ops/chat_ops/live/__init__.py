"""`chat-logs follow`: a live view of a server, from its growing log.

Imports `log`, `stats` and `output`.
Open `follow.py` first.
"""
