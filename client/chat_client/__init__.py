"""Chat client: a library (`Client`) and the command `chat-client` (cli.py).

Blocking sockets and threads. Imports `chat_cli` and `chat_protocol`, and never the server's code or gevent;
programs patched by gevent can use it. The public API is `__all__`, documented in docs/api.md.
Open `client.py` first, then `connection/reconnect.py`.
"""

from chat_client.address import Address, parse_address
from chat_client.client import Client
from chat_client.connection.pending import Pending
from chat_client.errors import ChatError, ConnectionFailed, ConnectionLost, Ended, Refused, TimedOut
from chat_client.events import Back, Lost, Overrun, Unsaved
from chat_client.follow import follow
from chat_client.server_selection import measure_all, quickest

__all__ = [
    "Address",
    "Back",
    "ChatError",
    "Client",
    "ConnectionFailed",
    "ConnectionLost",
    "Ended",
    "Lost",
    "Overrun",
    "Pending",
    "Refused",
    "TimedOut",
    "Unsaved",
    "follow",
    "measure_all",
    "parse_address",
    "quickest",
]
