"""The rules of the chat server, without I/O: commands in, events out.

Imports `chat_protocol`, msgspec, and for names tables of Unicode; never gevent, sockets, `time` or logging.
Open `assembly.py` first, then `commands/router.py` and `chat/hub.py`.
"""
