"""Turns: however many connections have something at once, others wait for a time slice, not for all of them.

The loop polls its sockets, and then serves all that are ready, one after the other: that is a round. A
thousand connections that each send one dear command at the same time would make a round of seconds. So a
round has one time slice for commands. Once it is used up, connections queue. The queue is served at the start
of each later round, for a time slice: those of an address in order, and the addresses in turn. Connections
that are ready then have what is left of it.

Of each round an address that is not exempt from limits has a share, which is shorter: so the only user of an
address waits for one command of another address, not for a time slice of them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from chat_server.core.ports.clock import Clock
    from chat_server.net.event_loop import EventLoop

TIME_SLICE_S: Final = 0.005
"""Seconds of a round in which commands may begin.
With 1 ms, a message of 200 clients that write to each other without a pause was a quarter dearer."""

ADDRESS_SHARE_S: Final = 0.0005
"""Seconds of a round in which commands of one address may begin."""

FIRST_READ_BYTES: Final = 4096
"""Bytes of the first read of a connection: for those of connections that come and go, nobody has to pay."""


class AddressShare:
    """The part of a round that one address has. Those of its connections that take turns are in it."""

    __slots__ = ("__weakref__", "_now", "round", "slice_ends_at", "used_s", "waits_ended")

    def __init__(self, clock: Clock) -> None:
        self.round = -1  # of which `used_s` is
        self.used_s = 0.0
        self.slice_ends_at = 0.0  # of the connection that has its turn
        self.waits_ended = 0  # of connections that waited for the core, in `round`
        self._now = clock.monotonic

    def is_used_up(self, polls: int) -> bool:
        """Return whether no more commands of the address may begin in this round."""
        if polls != self.round:
            self.round, self.used_s, self.waits_ended = polls, 0.0, 0
        return self.used_s > ADDRESS_SHARE_S

    def run(self, go_on: Callable[[], object]) -> None:
        """Let a connection go on, until it waits, and count the time. After `is_used_up` has said no."""
        began_at = self._now()
        self.slice_ends_at = began_at + ADDRESS_SHARE_S - self.used_s
        go_on()
        self.used_s += self._now() - began_at


class TurnTaker(Protocol):
    """A connection that waits for its turn.

    `turn_key`: those with the same one are served in order. `share`: None if the address is exempt.
    """

    turn_key: str
    share: AddressShare | None

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
        self._clock = clock
        self._shares: WeakValueDictionary[str, AddressShare] = WeakValueDictionary()  # by address

    def share_of(self, key: str) -> AddressShare | None:
        """Return the share of a limited address, or None for the empty key of those that are exempt."""
        if not key:
            return None
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = AddressShare(self._clock)
        return share

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
        polls, slice_ends_at = self._loop.polls.iteration, self._now() + TIME_SLICE_S
        self.round, self.slice_ends_at = polls, slice_ends_at
        waiting, addresses = self._waiting, self._addresses
        used_up: list[str] = []
        try:
            while addresses:
                key = addresses.popleft()
                takers = waiting[key]
                taker = takers[0]
                share = taker.share
                if share is not None and share.is_used_up(polls):
                    used_up.append(key)
                    continue
                takers.popleft()
                if takers:
                    addresses.append(key)  # behind the other addresses
                else:
                    del waiting[key]
                if share is None:
                    taker.take_turn()
                else:
                    share.run(taker.take_turn)
                if self._now() > slice_ends_at:
                    break
        finally:
            addresses.extend(used_up)
            self._scheduled = bool(addresses)
            if addresses:
                self._loop.run_next_round(self._serve)
