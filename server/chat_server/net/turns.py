"""Turns of connections that send much: between two of them, all others that have something are served.

The loop polls its sockets and then serves all that are ready, one after the other. Hundreds that each send as
fast as they are read would make a round of that long, and everybody would wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from chat_server.net.event_loop import EventLoop, LoopEvent

TIME_SLICE_S: Final = 0.005
"""Seconds that the commands of one read may run before other greenlets get to run."""

SLICE_PAUSE_S: Final = 0.0001
"""Seconds between two time slices: not 0, because only a timer lets the loop poll its sockets."""

BULK_READ_BYTES: Final = 8192
"""Bytes of a read, at most 0.8 ms of pongs. The first longer one waits for its turn, then each read does. A
client with 64 messages in flight sends less."""

FIRST_READ_BYTES: Final = 4096
"""Bytes of the first read of a connection: for those of connections that come and go, nobody has to pay."""

BULK_BYTES: Final = 32 * 1024
"""Bytes that such connections are read, together, until the loop polls its sockets again: 3 ms of those."""


class TurnTaker(Protocol):
    """A connection. What ends it sets `turn`, if there is one: it does not wait in the queue any more."""

    turn: LoopEvent | None


class Turns:
    """The queue of connections that wait for a turn, and the bytes that were read since the last pause."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._bytes = 0
        self._pausing = False  # whether the one whose turn it is waits for the loop's poll
        self._waiting: dict[LoopEvent, None] = {}  # in the order of their turns

    def wait(self, connection: TurnTaker, size: int) -> None:
        """Wait for a turn if it is that of others; `size`: of the last read. May wait."""
        if self._pausing or self._bytes > BULK_BYTES:
            self.pause(connection)
        self._bytes += size

    def pause(self, connection: TurnTaker) -> None:
        """Let the others have their turns, and the loop poll its sockets. May wait."""
        if self._pausing:
            event = connection.turn = self._loop.new_event()
            self._waiting[event] = None
            event.wait()
            connection.turn = None
            if event in self._waiting:  # it has ended
                del self._waiting[event]
                return
        self._pausing = True
        try:
            self._loop.sleep(SLICE_PAUSE_S)
        finally:
            self._bytes = 0
            self._pausing = bool(self._waiting)
            if self._waiting:
                event = next(iter(self._waiting))  # it pauses before its own turn: one turn a poll
                del self._waiting[event]
                event.set()
