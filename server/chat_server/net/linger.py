"""The last reads of a connection: what its peer sends after the `bye` is read, and nobody looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chat_server.net.event_loop import EventLoop, Watcher
    from chat_server.net.transport import Transport

CLOSE_LINGER_S: Final = 2.0
"""Seconds for the peer to read its last bytes; a close with unread input would reset them away (RFC 1122)."""

LINGER_READ_BYTES: Final = 16 * 1024
LINGER_PAUSE_S: Final = 0.01
"""Seconds after a whole read, so that a peer that floods costs no more than one that has gone."""


def read_to_end(loop: EventLoop, watcher: Watcher, transport: Transport) -> None:
    """Read until the peer closes: closing with unread input would reset it (RFC 1122). May wait.

    Raises `OSError` once the peer has gone.
    """
    while True:
        try:
            loop.wait(watcher)
            size = len(transport.recv(LINGER_READ_BYTES))
        except BlockingIOError:
            continue
        if not size:
            return
        if size == LINGER_READ_BYTES:
            loop.sleep(LINGER_PAUSE_S)
