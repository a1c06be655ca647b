"""Turns: however many connections have something at once, others wait for a time slice, not for all of them.

The loop polls its sockets, and then serves all that are ready, one after the other: that is a round. A
thousand connections that each send one dear command at the same time would make a round of seconds. So a
round has one time slice for commands. Once it is used up, connections queue. The queue is served at the start
of each later round, for a time slice: those of an address in order, and the addresses in turn. Connections
that are ready then have what is left of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from chat_server.core.ports.clock import Clock
    from chat_server.net.event_loop import EventLoop

TIME_SLICE_S: Final = 0.005
"""Seconds of a round in which commands may begin.
With 1 ms, a message of 200 clients that write to each other without a pause was a quarter dearer."""

FIRST_READ_BYTES: Final = 4096
"""Bytes of the first read of a connection: for those of connections that come and go, nobody has to pay."""


class TurnTaker(Protocol):
    """A connection that waits for its turn. `turn_key`: those with the same one are served in order."""

    turn_key: str

    def take_turn(self) -> None:
        """Go on, unless the connection has ended. Called by the loop."""


class Turns:
    """The queue of connections that wait for a turn, and the time slice of the present round.

    A connection looks at `round` and `slice_ends_at` itself before a read: this saves a call.
    """

    def __init__(self, loop: EventLoop, clock: Clock) -> None:
        self.round = -1  # the loop's, in which `slice_ends_at` was set
        self.slice_ends_at = 0.0
        self._loop = loop
        self._now = clock.monotonic
        self._scheduled = False
        self._waiting: dict[str, deque[TurnTaker]] = {}  # by address
        self._addresses: deque[str] = deque()  # the keys of `_waiting`, in the order of their turns

    def is_over(self) -> bool:
        """Return whether the time slice of this round is used up; the first call in a round begins it."""
        polls = self._loop.polls.iteration
        if polls != self.round:
            self.round, self.slice_ends_at = polls, self._now() + TIME_SLICE_S
            return False
        return self._now() > self.slice_ends_at

    def queue(self, taker: TurnTaker) -> None:
        """Let a connection take a turn, in a later round."""
        key = taker.turn_key
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque((taker,))
            self._addresses.append(key)
        else:
            waiting.append(taker)
        if not self._scheduled:
            self._scheduled = True
            self._loop.run_next_round(self._serve)

    def _serve(self) -> None:
        """Give turns for one time slice: the loop has polled its sockets since those began to wait."""
        slice_ends_at = self._now() + TIME_SLICE_S
        self.round, self.slice_ends_at = self._loop.polls.iteration, slice_ends_at
        waiting, addresses = self._waiting, self._addresses
        try:
            while addresses:
                key = addresses.popleft()
                takers = waiting[key]
                taker = takers.popleft()
                if takers:
                    addresses.append(key)  # behind the other addresses
                else:
                    del waiting[key]
                taker.take_turn()
                if self._now() > slice_ends_at:
                    break
        finally:
            self._scheduled = bool(addresses)
            if addresses:
                self._loop.run_next_round(self._serve)
