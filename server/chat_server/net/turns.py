"""Turns of connections that send much: between two of them, all others that have something are served.

The loop polls its sockets and then serves all that are ready, one after the other. Hundreds that each send as
fast as they are read would make a round of that long, and everybody would wait for it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chat_server.net.event_loop import EventLoop, LoopEvent

TIME_SLICE_S: Final = 0.005
"""Seconds that connections which send much may take, together, until the loop polls its sockets again."""

SLICE_PAUSE_S: Final = 0.0001
"""Seconds between two time slices: not 0, because only a timer lets the loop poll its sockets."""

BULK_READ_BYTES: Final = 2048
"""Bytes of a read above which a connection's next read is in turn: about 0.2 ms of the shortest commands."""


class Turns:
    """The queue of connections that wait for a turn, and the time used since the last poll."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._used_s = 0.0
        self._pausing = False  # whether the first one of the queue waits for the loop's poll
        self._waiting: deque[LoopEvent] = deque()

    def add(self, seconds: float) -> None:
        """Note the time that a turn has taken."""
        self._used_s += seconds

    def wait(self) -> None:
        """Wait for a turn, unless there is still time in this one. May wait."""
        if self._pausing or self._used_s >= TIME_SLICE_S:
            self.pause()

    def pause(self) -> None:
        """Let the others have their turns, and the loop poll its sockets. May wait."""
        if self._pausing:
            event = self._loop.new_event()
            self._waiting.append(event)
            event.wait()
        self._pausing = True
        try:
            self._loop.sleep(SLICE_PAUSE_S)
        finally:
            self._used_s = 0.0
            if self._waiting:
                self._waiting.popleft().set()  # it pauses before its own turn: one turn a poll
            else:
                self._pausing = False
