"""Counters and latency tallies of one log interval.

A tally counts how often each duration occurred, in microseconds rounded to three significant digits. So
recording one costs a dict access on the hot path; converting a tally to a histogram (once an interval, in
observability/log_reporter.py) costs one step per distinct value.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Final

Tally = dict[int, int]

BUSIEST_ROOMS: Final = 10
"""Rooms with latency tallies of their own: the busiest of the previous interval."""


def microseconds(seconds: float) -> int:
    """Return a duration in microseconds, rounded down to three significant digits, at least 1."""
    value = int(seconds * 1_000_000)
    if value < 1000:
        return value if value > 0 else 1
    if value < 10_000:
        return value // 10 * 10
    if value < 100_000:
        return value // 100 * 100
    if value < 1_000_000:
        return value // 1000 * 1000
    return value // 10_000 * 10_000


class RoomStats:
    """Counters of one room. Only the busiest rooms have tallies, the others have None."""

    __slots__ = ("accept_to_commit", "commit_to_sent", "deliveries", "messages")

    def __init__(self, *, tallied: bool) -> None:
        self.messages = 0
        self.deliveries = 0
        self.accept_to_commit: Tally | None = {} if tallied else None
        self.commit_to_sent: Tally | None = {} if tallied else None


class IntervalStats:
    """Counters of the server."""

    __slots__ = (
        "accept_to_commit",
        "bytes_in",
        "bytes_out",
        "caught_up",
        "closed",
        "commit_to_sent",
        "commits",
        "deliveries",
        "errors",
        "messages",
        "opened",
        "refused",
        "rooms",
        "rtt",
        "throttled",
    )

    def __init__(self, busiest: Iterable[str] = ()) -> None:
        self.messages = 0
        self.deliveries = 0
        self.commits = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.caught_up = 0  # deliveries from the log, to lagging sessions
        self.throttled = 0  # times that a peer was not read for a while: its bytes were over the rate
        self.opened = 0
        self.closed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.accept_to_commit: Tally = {}
        self.commit_to_sent: Tally = {}
        self.rtt: Tally = {}
        self.rooms = {name: RoomStats(tallied=True) for name in busiest}

    def room_stats(self, name: str) -> RoomStats:
        """Return the counters of a room; create them if there are none."""
        stats = self.rooms.get(name)
        if stats is None:
            self.rooms[name] = stats = RoomStats(tallied=len(self.rooms) < BUSIEST_ROOMS)
        return stats

    def busiest_rooms(self) -> list[tuple[str, RoomStats]]:
        """Return the rooms with the most deliveries, in descending order."""
        active = ((name, stats) for name, stats in self.rooms.items() if stats.messages)
        return heapq.nlargest(BUSIEST_ROOMS, active, key=lambda room: room[1].deliveries)
