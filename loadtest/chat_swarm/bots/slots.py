"""Who sits where: seats in rooms and in pairs, each given once, whatever process a bot lives in.

Knows seats, and the two messages about them. Must not know Locust, nor how a message travels. Pure.

Locust deals users to workers in a round that can put all of one class on one worker, so no process can work
out alone which seats are its own. One `Usher` (in the master, or in the only process) gives them out, a few
at a time, so that a room's bots live in all processes; a `SeatBook` in each process asks it and hands them
on.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Final, TypedDict

SLOT_REQUEST_MESSAGE: Final = "swarm_seats"
"""Locust's name of the message with an `Ask`, worker → master."""
SLOT_GRANT_MESSAGE: Final = "swarm_seated"
"""Locust's name of the message with an `Answer`, master → worker."""

ROOM_SLOT: Final = "room"
PAIR_SLOT: Final = "pair"


class SlotRequest(TypedDict):
    """`book` wants `count` seats. `number` counts its asks of that kind from 1; a repeat has the same one."""

    book: str
    kind: str
    number: int
    count: int


class SlotGrant(TypedDict):
    """The seats for ask `number` of `book`."""

    book: str
    kind: str
    number: int
    seats: list[int]


@dataclass(frozen=True, slots=True)
class RoomLayout:
    """What a seat's number means: rooms of `room_size` in turn, or `rooms` rooms filled evenly."""

    room_size: int
    rooms: int = 0

    def room_and_place(self, slot: int) -> tuple[int, int]:
        """Return (number of the room, place in it)."""
        if self.rooms:
            place, room = divmod(slot, self.rooms)
            return room, place
        return divmod(slot, self.room_size)

    def request_size(self, processes: int) -> int:
        """Return how many room seats to ask for at most, so that a room is mixed of all processes."""
        return max(1, self.room_size // (2 * processes))


def partner_slot(slot: int) -> int:
    """Return the other seat of a pair."""
    return slot ^ 1


class SlotAllocator:
    """Gives out seats, lowest free first."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}
        self._granted: dict[tuple[str, str], list[int]] = {}
        self._last_grants: dict[tuple[str, str], SlotGrant] = {}

    def allocate(self, request: SlotRequest) -> SlotGrant | None:
        """Return the answer; to an ask that came twice the same again, to one that is out of date none."""
        key = request["book"], request["kind"]
        last = self._last_grants.get(key)
        if last is not None and request["number"] <= last["number"]:
            return last if request["number"] == last["number"] else None
        slots = [self._next_slot(request["kind"]) for _ in range(request["count"])]
        self._granted.setdefault(key, []).extend(slots)
        grant = SlotGrant(book=request["book"], kind=request["kind"], number=request["number"], seats=slots)
        self._last_grants[key] = grant
        return grant

    def free_pool(self, pool: str) -> None:
        """Free all seats of a book whose process has ended. It MUST NOT come back under that name."""
        for key in [key for key in self._granted if key[0] == pool]:
            for slot in self._granted.pop(key):
                heappush(self._free.setdefault(key[1], []), slot)
            self._last_grants.pop(key, None)

    def _next_slot(self, kind: str) -> int:
        if free := self._free.get(kind):
            return heappop(free)
        slot = self._next.get(kind, 0)
        self._next[kind] = slot + 1
        return slot


class SlotWaiter:
    """A bot's place in the queue for a seat."""

    __slots__ = ("on_slot",)

    def __init__(self, on_slot: Callable[[int], None]) -> None:
        self.on_slot: Callable[[int], None] | None = on_slot

    def cancel(self) -> None:
        """Want no seat any more. One that was given already must be given back instead."""
        self.on_slot = None


class _KindPool:
    """What a book knows about one kind."""

    __slots__ = ("free", "last_number", "outstanding", "serving", "taken", "waiters")

    def __init__(self) -> None:
        self.waiters: deque[SlotWaiter] = deque()
        self.free: list[int] = []
        self.taken: set[int] = set()
        self.last_number = 0
        self.outstanding: SlotRequest | None = None
        self.serving = False


class SlotPool:
    """The seats of one process. `ask` hands an `Ask` on; it may be answered before it returns."""

    def __init__(
        self, name: str, request_sizes: dict[str, int], send_request: Callable[[SlotRequest], None]
    ) -> None:
        """Be known as `name`, which MUST differ from that of any other book, also of earlier runs.

        `blocks` says for each kind how many seats to ask for at once, at most.
        """
        self._name = name
        self._request_sizes = request_sizes
        self._send_request = send_request
        self._pools = {kind: _KindPool() for kind in request_sizes}

    def acquire_slot(self, kind: str, on_slot: Callable[[int], None]) -> SlotWaiter:
        """Call `then` with a seat, now or later."""
        waiter = SlotWaiter(on_slot)
        self._pools[kind].waiters.append(waiter)
        self._serve_waiters(kind)
        return waiter

    def release_slot(self, kind: str, slot: int) -> None:
        """Free a seat for the next bot of this process."""
        pool = self._pools[kind]
        pool.taken.remove(slot)
        heappush(pool.free, slot)
        self._serve_waiters(kind)

    def on_grant(self, grant: SlotGrant) -> None:
        """Take an answer. One that came before, or is for another book, changes nothing."""
        pool = self._pools.get(grant["kind"])
        if (
            pool is None
            or pool.outstanding is None
            or grant["book"] != self._name
            or grant["number"] != pool.outstanding["number"]
        ):
            return
        pool.outstanding = None
        for slot in grant["seats"]:
            heappush(pool.free, slot)
        self._serve_waiters(grant["kind"])

    def repeat_requests(self) -> None:
        """Repeat what was not answered; to be called about once a second, since a message may be lost."""
        for pool in self._pools.values():
            if pool.outstanding is not None:
                self._send_request(pool.outstanding)

    def _serve_waiters(self, kind: str) -> None:
        pool = self._pools[kind]
        if pool.serving:  # called by what the loop below calls; the loop goes on
            return
        pool.serving = True
        try:
            while True:
                while pool.waiters and pool.waiters[0].on_slot is None:
                    pool.waiters.popleft()
                if pool.waiters and pool.free:
                    self._assign_lowest(pool)
                elif pool.waiters and pool.outstanding is None:
                    # Never more than are wanted now: a seat in reserve would be a hole in a room.
                    pool.last_number += 1
                    open_waiters = (waiting for waiting in pool.waiters if waiting.on_slot is not None)
                    count = sum(1 for _ in islice(open_waiters, self._request_sizes[kind]))
                    pool.outstanding = SlotRequest(
                        book=self._name, kind=kind, number=pool.last_number, count=count
                    )
                    self._send_request(pool.outstanding)
                else:
                    return
        finally:
            pool.serving = False

    @staticmethod
    def _assign_lowest(pool: _KindPool) -> None:
        waiter = pool.waiters.popleft()
        on_slot, waiter.on_slot = waiter.on_slot, None
        slot = heappop(pool.free)
        pool.taken.add(slot)
        if on_slot is not None:
            on_slot(slot)
