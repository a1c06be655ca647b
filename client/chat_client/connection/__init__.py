"""A session over many connections: handshake, reading, reconnecting, resuming, resending, catching up.

Imports `base`, `chat_protocol` and the client's `address`, `errors` and `events`.
Open `reconnect.py` first, then `link.py`.
"""
