"""The wire protocol, without I/O: commands, events, names, and the codecs of three dialects.

Imports msgspec and nothing of ours: no sockets, clocks, logs, server or client. The owner of a connection
passes what it reads to `Codec.receive(bytes)` and sends what `Codec.encode(event)` returns.
Open `commands.py` first, then `events.py` and `dialects/base.py`.
"""

PROTOCOL_VERSION = 1
DEFAULT_PORT = 7072
LOBBY = "lobby"
