"""Turns: however many connections have something at once, others wait for a time slice, not for all of them.

The loop polls its sockets, and then serves all that are ready, one after the other: that is a round. A
thousand connections that each send one dear command at the same time would make a round of seconds. So a
round has one time slice for commands. Once it is used up, connections queue, and each later round has a
second slice for the queue: those of an address are served in order, and the addresses in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from chat_server.core.ports.clock import Clock
    from chat_server.net.event_loop import EventLoop, LoopTurn

TIME_SLICE_S: Final = 0.005
"""Seconds of a round in which commands may begin: of connections that are ready, and of those that queue."""

SLICE_PAUSE_S: Final = 0.0001
"""Seconds between two time slices: not 0, because only a timer lets the loop poll its sockets."""

FIRST_READ_BYTES: Final = 4096
"""Bytes of the first read of a connection: for those of connections that come and go, nobody has to pay."""


class TurnTaker(Protocol):
    """A connection. What ends it sets `turn`, if there is one: it does not wait in the queue any more."""

    turn: LoopTurn | None

    @property
    def address_key(self) -> str:
        """The address whose connections have their turns one after the other; empty for this machine."""


class Turns:
    """The queue of connections that wait for a turn, and the time slice of the present round.

    A reader looks at `round` and `slice_ends_at` itself (net/connection.py): this saves a call per read.
    """

    def __init__(self, loop: EventLoop, clock: Clock) -> None:
        self.round = -1  # the loop's, in which `slice_ends_at` was set
        self.slice_ends_at = 0.0
        self._loop = loop
        self._now = clock.monotonic
        self._scheduled = False
        self._waiting: dict[str, dict[LoopTurn, None]] = {}  # by address, those in the order of their turns

    def is_over(self) -> bool:
        """Return whether the time slice of this round is used up; the first call in a round begins it."""
        polls = self._loop.polls.iteration
        if polls != self.round:
            self.round, self.slice_ends_at = polls, self._now() + TIME_SLICE_S
            return False
        return self._now() > self.slice_ends_at

    def wait(self, connection: TurnTaker) -> None:
        """Wait until it is the turn of this connection, in a later round, or it has ended. May wait."""
        key = connection.address_key
        turn = connection.turn = self._loop.new_turn()
        self._waiting.setdefault(key, {})[turn] = None
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_later(SLICE_PAUSE_S, self._serve)
        try:
            turn.wait()
        finally:
            connection.turn = None
            turns = self._waiting.get(key)
            if turns is not None and turn in turns:  # it has ended
                del turns[turn]
                if not turns:
                    del self._waiting[key]

    def _serve(self) -> None:
        """Give turns for one time slice: the loop has polled its sockets since those began to wait."""
        self.round, self.slice_ends_at = self._loop.polls.iteration, self._now() + TIME_SLICE_S
        while self._waiting:
            key, turns = next(iter(self._waiting.items()))
            turn = next(iter(turns))
            del self._waiting[key], turns[turn]
            if turns:
                self._waiting[key] = turns  # behind the other addresses
            turn.resume()
            if self._now() > self.slice_ends_at:
                break
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            self._loop.call_later(SLICE_PAUSE_S, self._serve)
