"""Turns: however many connections have something at once, others wait for a time slice, not for all of them.

The loop polls its sockets, and then serves all that are ready, one after the other: that is a round. A
thousand connections that each send one dear command at the same time would make a round of seconds. So a
round has one time slice for all commands. Once it is used up, connections queue, and are served in later
rounds: those of each address in order, and the addresses in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from chat_server.core.ports.clock import Clock
    from chat_server.net.event_loop import EventLoop, LoopEvent

TIME_SLICE_S: Final = 0.005
"""Seconds of a round in which commands may begin."""

SLICE_PAUSE_S: Final = 0.0001
"""Seconds between two time slices: not 0, because only a timer lets the loop poll its sockets."""

FIRST_READ_BYTES: Final = 4096
"""Bytes of the first read of a connection: for those of connections that come and go, nobody has to pay."""


class TurnTaker(Protocol):
    """A connection. What ends it sets `turn`, if there is one: it does not wait in the queue any more."""

    turn: LoopEvent | None

    @property
    def turn_key(self) -> str:
        """The address whose connections have their turns one after the other."""


class Turns:
    """The queue of connections that wait for a turn, and the time slice of the present round.

    A reader looks at `round` and `slice_ends_at` itself (net/connection.py): this saves a call per read.
    """

    def __init__(self, loop: EventLoop, clock: Clock) -> None:
        self.round = -1  # the loop's, in which `slice_ends_at` was set
        self.slice_ends_at = 0.0
        self._loop = loop
        self._now = clock.monotonic
        self._pausing = False  # whether a connection waits for the loop's poll, to release the next one then
        self._waiting: dict[str, dict[LoopEvent, None]] = {}  # by address, those in the order of their turns
        self._first: dict[LoopEvent, None] = {}  # whose turn came when the slice was used up

    def is_over(self) -> bool:
        """Return whether the time slice of this round is used up; the first call in a round begins it."""
        polls = self._loop.polls.iteration
        if polls != self.round:
            self.round, self.slice_ends_at = polls, self._now() + TIME_SLICE_S
            return False
        return self._now() > self.slice_ends_at

    def wait(self, connection: TurnTaker) -> None:
        """Wait until it is the turn of this connection, in a later round. May wait."""
        key = connection.turn_key
        event = connection.turn = self._loop.new_turn()
        self._waiting.setdefault(key, {})[event] = None
        try:
            while True:
                if not self._pausing:
                    self._pause()
                event.wait()
                if self._is_waiting(key, event) or not self.is_over():
                    return
                event = connection.turn = self._loop.new_turn()
                self._first[event] = None
        finally:
            connection.turn = None
            if self._is_waiting(key, event):  # it has ended
                self._drop(key, event)
            else:
                self._release()

    def _pause(self) -> None:
        """Let the loop poll its sockets, and serve those that are ready; then release the next connection."""
        self._pausing = True
        try:
            self._loop.sleep(SLICE_PAUSE_S)
        finally:
            self._pausing = False
            self._release()

    def _release(self) -> None:
        """Let the next connection go on; it releases the one after it, while the slice lasts."""
        if self._first:
            event = next(iter(self._first))
            del self._first[event]
        elif self._waiting:
            key, events = next(iter(self._waiting.items()))
            event = next(iter(events))
            del self._waiting[key], events[event]
            if events:
                self._waiting[key] = events  # behind the other addresses
        else:
            return
        event.set()

    def _is_waiting(self, key: str, event: LoopEvent) -> bool:
        return event in self._first or event in self._waiting.get(key, ())

    def _drop(self, key: str, event: LoopEvent) -> None:
        if event in self._first:
            del self._first[event]
            return
        del self._waiting[key][event]
        if not self._waiting[key]:
            del self._waiting[key]
