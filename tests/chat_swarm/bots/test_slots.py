"""Every slot is allocated once, rooms are full and shared by all processes, whatever messages are lost."""

from collections import Counter
from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chat_swarm.bots.slots import (
    PAIR_SLOT,
    ROOM_SLOT,
    RoomLayout,
    SlotAllocator,
    SlotGrant,
    SlotPool,
    SlotRequest,
    SlotWaiter,
    partner_slot,
)

ROOM_SIZE = 6


def nothing(_: SlotRequest) -> None:
    """Lose a request."""


def one_process(request_sizes: dict[str, int]) -> SlotPool:
    allocator, pools = SlotAllocator(), list[SlotPool]()

    def request(wanted: SlotRequest) -> None:
        grant = allocator.allocate(wanted)
        assert grant is not None
        pools[0].on_grant(grant)

    pools.append(SlotPool("only", request_sizes, request))
    return pools[0]


def test_acquire_slot_in_one_process_fills_room_after_room() -> None:
    pool, slots = one_process({ROOM_SLOT: 3, PAIR_SLOT: 1}), list[int]()
    for _ in range(10):
        pool.acquire_slot(ROOM_SLOT, slots.append)
    assert slots == list(range(10))
    pairs: list[int] = []
    for _ in range(3):
        pool.acquire_slot(PAIR_SLOT, pairs.append)
    assert pairs == [0, 1, 2]


def test_release_slot_makes_it_the_next_one() -> None:
    pool, slots = one_process({ROOM_SLOT: 3}), list[int]()
    for _ in range(4):
        pool.acquire_slot(ROOM_SLOT, slots.append)
    pool.release_slot(ROOM_SLOT, 1)
    pool.acquire_slot(ROOM_SLOT, slots.append)
    assert slots == [0, 1, 2, 3, 1]


def test_acquire_slot_from_within_on_slot_works() -> None:
    pool, slots = one_process({ROOM_SLOT: 3}), list[int]()

    def on_slot(slot: int) -> None:
        slots.append(slot)
        if len(slots) < 2_000:
            pool.acquire_slot(ROOM_SLOT, on_slot)

    pool.acquire_slot(ROOM_SLOT, on_slot)
    assert slots == list(range(2_000))


def test_cancelled_waiter_gets_no_slot_and_none_is_lost() -> None:
    # Given a request in flight for a bot that then cancels
    requests, slots = list[SlotRequest](), list[int]()
    allocator, pool = SlotAllocator(), SlotPool("a", {ROOM_SLOT: 2}, requests.append)
    waiter = pool.acquire_slot(ROOM_SLOT, slots.append)
    waiter.cancel()
    # When the grant arrives
    grant = allocator.allocate(requests[0])
    assert grant is not None
    pool.on_grant(grant)
    # Then the next bot gets the slot, without a new request
    assert slots == []
    pool.acquire_slot(ROOM_SLOT, slots.append)
    assert (slots, len(requests)) == ([0], 1)


def test_grant_for_another_pool_or_kind_is_ignored() -> None:
    requests, slots = list[SlotRequest](), list[int]()
    pool = SlotPool("a", {ROOM_SLOT: 2}, requests.append)
    pool.acquire_slot(ROOM_SLOT, slots.append)
    pool.on_grant(SlotGrant(pool="b", kind=ROOM_SLOT, number=1, slots=[5]))
    pool.on_grant(SlotGrant(pool="a", kind=PAIR_SLOT, number=1, slots=[5]))
    pool.on_grant(SlotGrant(pool="a", kind=ROOM_SLOT, number=2, slots=[5]))
    assert slots == []


def test_free_pool_makes_its_slots_available_lowest_first() -> None:
    allocator = SlotAllocator()
    for pool in ("a", "b"):
        allocator.allocate(SlotRequest(pool=pool, kind=ROOM_SLOT, number=1, count=3))
    allocator.free_pool("a")
    grant = allocator.allocate(SlotRequest(pool="c", kind=ROOM_SLOT, number=1, count=4))
    assert grant is not None
    assert grant["slots"] == [0, 1, 2, 6]


def test_room_layout_maps_slots_to_rooms_and_places() -> None:
    assert [RoomLayout(3).room_and_place(slot) for slot in range(5)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]
    assert [RoomLayout(3, rooms=2).room_and_place(slot) for slot in range(5)] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
    ]
    assert [partner_slot(slot) for slot in range(4)] == [1, 0, 3, 2]
    assert (
        RoomLayout(20).request_size(1),
        RoomLayout(20).request_size(2),
        RoomLayout(20).request_size(4),
        RoomLayout(1).request_size(8),
    ) == (
        10,
        5,
        2,
        1,
    )


@given(st.integers(2, 4), st.integers(2, 12).map(lambda half: half * 4), st.integers(1, 8))
def test_rooms_are_shared_by_all_processes_that_request_in_turn(
    processes: int, room_size: int, rooms: int
) -> None:
    # Given processes that start all their bots at the same time
    allocator, layout = SlotAllocator(), RoomLayout(room_size)
    requests: dict[str, SlotRequest] = {}
    rooms_of: dict[int, Counter[str]] = {}
    pools = {}
    for name in [f"p{number}" for number in range(processes)]:

        def request(wanted: SlotRequest, name: str = name) -> None:
            requests[name] = wanted

        def on_slot(slot: int, name: str = name) -> None:
            rooms_of.setdefault(layout.room_and_place(slot)[0], Counter())[name] += 1

        pools[name] = SlotPool(name, {ROOM_SLOT: layout.request_size(processes)}, request)
        for _ in range(room_size * rooms):
            pools[name].acquire_slot(ROOM_SLOT, on_slot)
    # When their requests are granted in turn
    while requests:
        for name in list(requests):
            grant = allocator.allocate(requests.pop(name))
            assert grant is not None
            pools[name].on_grant(grant)
    # Then every room has bots of every process
    assert all(len(here) == processes for here in rooms_of.values())


class SlotMachine(RuleBasedStateMachine):
    """Several processes, one allocator, and messages that are delayed, lost, repeated and reordered."""

    @initialize(processes=st.integers(1, 3))
    def create_pools(self, processes: int) -> None:
        self.allocator = SlotAllocator()
        self.requests: list[SlotRequest] = []
        self.grants: list[SlotGrant] = []
        self.assigned: dict[tuple[str, str], list[int]] = {}
        self.waiting: list[tuple[str, str, SlotWaiter]] = []
        self.cancelled = False
        self.pools: dict[str, SlotPool] = {}
        for number in range(processes):
            request_sizes = {ROOM_SLOT: RoomLayout(ROOM_SIZE).request_size(processes), PAIR_SLOT: 1}
            self.pools[f"p{number}"] = SlotPool(f"p{number}", request_sizes, self.requests.append)

    def on_slot(self, name: str, kind: str) -> Callable[[int], None]:
        return self.assigned.setdefault((name, kind), []).append

    @rule(data=st.data(), kind=st.sampled_from([ROOM_SLOT, PAIR_SLOT]), bots=st.integers(1, 9))
    def bots_start(self, data: st.DataObject, kind: str, bots: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.pools)))
        for _ in range(bots):
            self.waiting.append((name, kind, self.pools[name].acquire_slot(kind, self.on_slot(name, kind))))

    @rule(data=st.data())
    def a_bot_shuts_down(self, data: st.DataObject) -> None:
        if taken := sorted((key, slot) for key, slots in self.assigned.items() for slot in slots):
            (name, kind), slot = data.draw(st.sampled_from(taken))
            self.cancelled = True
            self.assigned[name, kind].remove(slot)
            self.pools[name].release_slot(kind, slot)

    @rule(data=st.data())
    def a_bot_cancels(self, data: st.DataObject) -> None:
        if waiting := [place for place in self.waiting if place[2].on_slot is not None]:
            self.cancelled = True
            data.draw(st.sampled_from(waiting))[2].cancel()

    @rule(data=st.data(), keep=st.booleans())
    def a_request_arrives(self, data: st.DataObject, keep: bool) -> None:
        if self.requests:
            request = self.requests[data.draw(st.integers(0, len(self.requests) - 1))]
            if not keep:
                self.requests.remove(request)
            grant = self.allocator.allocate(
                msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=SlotRequest)
            )
            if grant is not None:
                self.grants.append(grant)

    @rule(data=st.data(), keep=st.booleans())
    def a_grant_arrives(self, data: st.DataObject, keep: bool) -> None:
        if self.grants:
            grant = self.grants[data.draw(st.integers(0, len(self.grants) - 1))]
            if not keep:
                self.grants.remove(grant)
            copy = msgspec.msgpack.decode(msgspec.msgpack.encode(grant), type=SlotGrant)
            self.pools[copy["pool"]].on_grant(copy)

    @rule()
    def all_messages_are_lost(self) -> None:
        self.requests.clear()
        self.grants.clear()

    @invariant()
    def no_slot_is_assigned_twice(self) -> None:
        for wanted in (ROOM_SLOT, PAIR_SLOT):
            taken = [slot for (_, kind), slots in self.assigned.items() if kind == wanted for slot in slots]
            assert len(taken) == len(set(taken))

    def teardown(self) -> None:
        """Once messages arrive, every waiting bot has a slot, and all rooms but the last are full."""
        for _ in range(10_000):
            if not any(place[2].on_slot is not None for place in self.waiting):
                break
            for pool in self.pools.values():
                pool.repeat_requests()
            for request in [self.requests.pop(0) for _ in range(len(self.requests))]:
                if (grant := self.allocator.allocate(request)) is not None:
                    self.pools[grant["pool"]].on_grant(grant)
        assert not any(place[2].on_slot is not None for place in self.waiting)
        self.no_slot_is_assigned_twice()
        if not self.cancelled:
            for wanted in (ROOM_SLOT, PAIR_SLOT):
                taken = [
                    slot for (_, kind), slots in self.assigned.items() if kind == wanted for slot in slots
                ]
                assert sorted(taken) == list(range(len(taken)))


SlotMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestSlotMachine = SlotMachine.TestCase
