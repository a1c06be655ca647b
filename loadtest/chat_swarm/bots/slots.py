"""Slots: numbered places of bots in rooms and in pairs, each allocated once among all processes. Pure.

Locust distributes users to workers round-robin, which can put all users of one class on one worker, so a
process cannot compute its own slots. One `SlotAllocator` (in the master, or in the only process) allocates
them, a few at a time, so that the bots of a room are spread over all processes; a `SlotPool` in each process
requests them and assigns them to its bots.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Final, TypedDict

SLOT_REQUEST_MESSAGE: Final = "swarm_slot_request"
"""Name of the Locust message with a `SlotRequest`, worker → master."""
SLOT_GRANT_MESSAGE: Final = "swarm_slot_grant"
"""Name of the Locust message with a `SlotGrant`, master → worker."""

ROOM_SLOT: Final = "room"
PAIR_SLOT: Final = "pair"


class SlotRequest(TypedDict):
    """The pool `pool` requests `count` slots. `number` counts its requests from 1; a repeat keeps it."""

    pool: str
    kind: str
    number: int
    count: int


class SlotGrant(TypedDict):
    """The slots for request `number` of the pool `pool`."""

    pool: str
    kind: str
    number: int
    slots: list[int]


@dataclass(frozen=True, slots=True)
class RoomLayout:
    """Maps slot numbers to rooms: rooms of `room_size` filled in turn, or `rooms` rooms filled evenly."""

    room_size: int
    rooms: int = 0

    def room_and_place(self, slot: int) -> tuple[int, int]:
        """Return (room number, place in the room)."""
        if self.rooms:
            place, room = divmod(slot, self.rooms)
            return room, place
        return divmod(slot, self.room_size)

    def request_size(self, processes: int) -> int:
        """Return the largest request for room slots with which the processes share each room."""
        return max(1, self.room_size // (2 * processes))


def partner_slot(slot: int) -> int:
    """Return the other slot of a pair."""
    return slot ^ 1


class SlotAllocator:
    """Allocates slots to the pools, lowest free one first."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}
        self._granted: dict[tuple[str, str], list[int]] = {}
        self._last_grants: dict[tuple[str, str], SlotGrant] = {}

    def allocate(self, request: SlotRequest) -> SlotGrant | None:
        """Return the grant; the same one again for a repeated request, None for an outdated one."""
        key = request["pool"], request["kind"]
        last = self._last_grants.get(key)
        if last is not None and request["number"] <= last["number"]:
            return last if request["number"] == last["number"] else None
        slots = [self._next_slot(request["kind"]) for _ in range(request["count"])]
        self._granted.setdefault(key, []).extend(slots)
        grant = SlotGrant(pool=request["pool"], kind=request["kind"], number=request["number"], slots=slots)
        self._last_grants[key] = grant
        return grant

    def free_pool(self, pool: str) -> None:
        """Free all slots of a pool whose process has ended. That pool's name MUST NOT be used again."""
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
    """A bot in the queue for a slot."""

    __slots__ = ("on_slot",)

    def __init__(self, on_slot: Callable[[int], None]) -> None:
        self.on_slot: Callable[[int], None] | None = on_slot

    def cancel(self) -> None:
        """Leave the queue. A slot that was assigned already must be released instead."""
        self.on_slot = None


class _KindPool:
    """The state of a pool for one kind of slot."""

    __slots__ = ("free", "last_number", "outstanding", "serving", "taken", "waiters")

    def __init__(self) -> None:
        self.waiters: deque[SlotWaiter] = deque()
        self.free: list[int] = []
        self.taken: set[int] = set()
        self.last_number = 0
        self.outstanding: SlotRequest | None = None
        self.serving = False


class SlotPool:
    """The slots of one process. `on_grant` may be called before `send_request` returns."""

    def __init__(
        self, name: str, request_sizes: dict[str, int], send_request: Callable[[SlotRequest], None]
    ) -> None:
        """Create a pool. Its `name` MUST be unique, also among those of earlier runs.

        `request_sizes`: kind → largest number of slots to request at once.
        """
        self._name = name
        self._request_sizes = request_sizes
        self._send_request = send_request
        self._pools = {kind: _KindPool() for kind in request_sizes}

    def acquire_slot(self, kind: str, on_slot: Callable[[int], None]) -> SlotWaiter:
        """Call `on_slot` with a slot, now or later."""
        waiter = SlotWaiter(on_slot)
        self._pools[kind].waiters.append(waiter)
        self._serve_waiters(kind)
        return waiter

    def release_slot(self, kind: str, slot: int) -> None:
        """Free a slot for the next bot of this process."""
        pool = self._pools[kind]
        pool.taken.remove(slot)
        heappush(pool.free, slot)
        self._serve_waiters(kind)

    def on_grant(self, grant: SlotGrant) -> None:
        """Record a grant. A repeated one, or one for another pool, is ignored."""
        pool = self._pools.get(grant["kind"])
        if (
            pool is None
            or pool.outstanding is None
            or grant["pool"] != self._name
            or grant["number"] != pool.outstanding["number"]
        ):
            return
        pool.outstanding = None
        for slot in grant["slots"]:
            heappush(pool.free, slot)
        self._serve_waiters(grant["kind"])

    def repeat_requests(self) -> None:
        """Repeat unanswered requests; call it about once a second, since messages may be lost."""
        for pool in self._pools.values():
            if pool.outstanding is not None:
                self._send_request(pool.outstanding)

    def _serve_waiters(self, kind: str) -> None:
        pool = self._pools[kind]
        if pool.serving:  # reentered from `on_slot` or `send_request` below: the outer loop continues
            return
        pool.serving = True
        try:
            while True:
                while pool.waiters and pool.waiters[0].on_slot is None:
                    pool.waiters.popleft()
                if pool.waiters and pool.free:
                    self._assign_lowest(pool)
                elif pool.waiters and pool.outstanding is None:
                    # Never more than needed now: a slot in reserve would be a hole in a room.
                    pool.last_number += 1
                    open_waiters = (waiting for waiting in pool.waiters if waiting.on_slot is not None)
                    count = sum(1 for _ in islice(open_waiters, self._request_sizes[kind]))
                    pool.outstanding = SlotRequest(
                        pool=self._name, kind=kind, number=pool.last_number, count=count
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
