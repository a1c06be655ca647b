"""`chat-logs follow`: a live view of a server, from its growing log.

Imports `log`, `stats`, `output` and `chat_server.vocabulary`.
Open `follow.py` first.
"""
