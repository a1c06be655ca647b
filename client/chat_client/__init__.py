"""A chat client as a library (`Client`) and as a command (`chat-client`, in cli.py).

Blocking sockets and threads; no dependency on the server's code nor on gevent.
"""

from chat_client.address import Address, parse_address
from chat_client.client import Client
from chat_client.connection.pending import Pending
from chat_client.errors import ChatError, ConnectionFailed, ConnectionLost, Ended, Refused, TimedOut
from chat_client.events import Back, Lost, Overrun
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
    "follow",
    "measure_all",
    "parse_address",
    "quickest",
]
