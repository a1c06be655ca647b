"""The rules of the chat server, without I/O: commands in, events out.

Imports `chat_protocol` and msgspec; never gevent, sockets, files, `time` or logging: see `ports/`.
Open `commands/router.py` first, then `chat/hub.py`.
"""
