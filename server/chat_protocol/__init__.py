"""What travels between Greenroom's programs: commands, events, names and the codecs of three dialects.

Knows bytes and values. Must not know sockets, clocks, logs, the server or the client: whoever owns a
connection feeds `receive(bytes)` and sends what `encode(event)` returns.
"""

PROTOCOL_VERSION = 1
DEFAULT_PORT = 7072
LOBBY = "lobby"
