"""That every seat is given once, rooms are full and mixed, whatever becomes of messages."""

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
    """Lose an ask."""


def one_process(blocks: dict[str, int]) -> SlotPool:
    usher, books = SlotAllocator(), list[SlotPool]()

    def ask(wanted: SlotRequest) -> None:
        answer = usher.allocate(wanted)
        assert answer is not None
        books[0].on_grant(answer)

    books.append(SlotPool("only", blocks, ask))
    return books[0]


def test_one_process_is_answered_at_once_and_fills_room_after_room() -> None:
    book, seats = one_process({ROOM_SLOT: 3, PAIR_SLOT: 1}), list[int]()
    for _ in range(10):
        book.acquire_slot(ROOM_SLOT, seats.append)
    assert seats == list(range(10))
    pairs: list[int] = []
    for _ in range(3):
        book.acquire_slot(PAIR_SLOT, pairs.append)
    assert pairs == [0, 1, 2]


def test_a_seat_that_was_given_back_is_the_next_to_be_given() -> None:
    book, seats = one_process({ROOM_SLOT: 3}), list[int]()
    for _ in range(4):
        book.acquire_slot(ROOM_SLOT, seats.append)
    book.release_slot(ROOM_SLOT, 1)
    book.acquire_slot(ROOM_SLOT, seats.append)
    assert seats == [0, 1, 2, 3, 1]


def test_a_bot_may_ask_for_more_from_within_its_answer() -> None:
    book, seats = one_process({ROOM_SLOT: 3}), list[int]()

    def then(seat: int) -> None:
        seats.append(seat)
        if len(seats) < 2_000:
            book.acquire_slot(ROOM_SLOT, then)

    book.acquire_slot(ROOM_SLOT, then)
    assert seats == list(range(2_000))


def test_who_gave_up_waiting_gets_no_seat_and_none_is_lost() -> None:
    # Given an ask under way for a bot that then gives up
    asks, seats = list[SlotRequest](), list[int]()
    usher, book = SlotAllocator(), SlotPool("a", {ROOM_SLOT: 2}, asks.append)
    waiting = book.acquire_slot(ROOM_SLOT, seats.append)
    waiting.cancel()
    # When the answer comes
    answer = usher.allocate(asks[0])
    assert answer is not None
    book.on_grant(answer)
    # Then the next bot has the seat, and nobody is asked
    assert seats == []
    book.acquire_slot(ROOM_SLOT, seats.append)
    assert (seats, len(asks)) == ([0], 1)


def test_an_answer_for_another_book_or_kind_changes_nothing() -> None:
    asks, seats = list[SlotRequest](), list[int]()
    book = SlotPool("a", {ROOM_SLOT: 2}, asks.append)
    book.acquire_slot(ROOM_SLOT, seats.append)
    book.on_grant(SlotGrant(book="b", kind=ROOM_SLOT, number=1, seats=[5]))
    book.on_grant(SlotGrant(book="a", kind=PAIR_SLOT, number=1, seats=[5]))
    book.on_grant(SlotGrant(book="a", kind=ROOM_SLOT, number=2, seats=[5]))
    assert seats == []


def test_the_seats_of_a_process_that_ended_are_given_again_lowest_first() -> None:
    usher = SlotAllocator()
    for book in ("a", "b"):
        usher.allocate(SlotRequest(book=book, kind=ROOM_SLOT, number=1, count=3))
    usher.free_pool("a")
    answer = usher.allocate(SlotRequest(book="c", kind=ROOM_SLOT, number=1, count=4))
    assert answer is not None
    assert answer["seats"] == [0, 1, 2, 6]


def test_a_seat_has_a_room_and_a_place() -> None:
    assert [RoomLayout(3).room_and_place(seat) for seat in range(5)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]
    assert [RoomLayout(3, rooms=2).room_and_place(seat) for seat in range(5)] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
    ]
    assert [partner_slot(seat) for seat in range(4)] == [1, 0, 3, 2]
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
def test_rooms_are_mixed_of_all_processes_that_ask_in_turn(
    processes: int, room_size: int, rooms: int
) -> None:
    # Given processes that start their bots at the same time, all at once
    usher, layout = SlotAllocator(), RoomLayout(room_size)
    asks: dict[str, SlotRequest] = {}
    rooms_of: dict[int, Counter[str]] = {}
    books = {}
    for name in [f"p{number}" for number in range(processes)]:

        def ask(wanted: SlotRequest, name: str = name) -> None:
            asks[name] = wanted

        def then(seat: int, name: str = name) -> None:
            rooms_of.setdefault(layout.room_and_place(seat)[0], Counter())[name] += 1

        books[name] = SlotPool(name, {ROOM_SLOT: layout.request_size(processes)}, ask)
        for _ in range(room_size * rooms):
            books[name].acquire_slot(ROOM_SLOT, then)
    # When their asks are answered in turn
    while asks:
        for name in list(asks):
            answer = usher.allocate(asks.pop(name))
            assert answer is not None
            books[name].on_grant(answer)
    # Then every room has bots of every process
    assert all(len(here) == processes for here in rooms_of.values())


class Seating(RuleBasedStateMachine):
    """Several processes, one usher, and messages that are delayed, lost, repeated and reordered."""

    @initialize(processes=st.integers(1, 3))
    def begin(self, processes: int) -> None:
        self.usher = SlotAllocator()
        self.asks: list[SlotRequest] = []
        self.answers: list[SlotGrant] = []
        self.seated: dict[tuple[str, str], list[int]] = {}
        self.waiting: list[tuple[str, str, SlotWaiter]] = []
        self.given_up = False
        self.books: dict[str, SlotPool] = {}
        for number in range(processes):
            blocks = {ROOM_SLOT: RoomLayout(ROOM_SIZE).request_size(processes), PAIR_SLOT: 1}
            self.books[f"p{number}"] = SlotPool(f"p{number}", blocks, self.asks.append)

    def taker(self, name: str, kind: str) -> Callable[[int], None]:
        return self.seated.setdefault((name, kind), []).append

    @rule(data=st.data(), kind=st.sampled_from([ROOM_SLOT, PAIR_SLOT]), bots=st.integers(1, 9))
    def bots_come(self, data: st.DataObject, kind: str, bots: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.books)))
        for _ in range(bots):
            self.waiting.append((name, kind, self.books[name].acquire_slot(kind, self.taker(name, kind))))

    @rule(data=st.data())
    def a_bot_goes(self, data: st.DataObject) -> None:
        if taken := sorted((key, seat) for key, seats in self.seated.items() for seat in seats):
            (name, kind), seat = data.draw(st.sampled_from(taken))
            self.given_up = True
            self.seated[name, kind].remove(seat)
            self.books[name].release_slot(kind, seat)

    @rule(data=st.data())
    def a_bot_gives_up_waiting(self, data: st.DataObject) -> None:
        if standing := [place for place in self.waiting if place[2].on_slot is not None]:
            self.given_up = True
            data.draw(st.sampled_from(standing))[2].cancel()

    @rule(data=st.data(), keep=st.booleans())
    def an_ask_arrives(self, data: st.DataObject, keep: bool) -> None:
        if self.asks:
            ask = self.asks[data.draw(st.integers(0, len(self.asks) - 1))]
            if not keep:
                self.asks.remove(ask)
            answer = self.usher.allocate(
                msgspec.msgpack.decode(msgspec.msgpack.encode(ask), type=SlotRequest)
            )
            if answer is not None:
                self.answers.append(answer)

    @rule(data=st.data(), keep=st.booleans())
    def an_answer_arrives(self, data: st.DataObject, keep: bool) -> None:
        if self.answers:
            answer = self.answers[data.draw(st.integers(0, len(self.answers) - 1))]
            if not keep:
                self.answers.remove(answer)
            copy = msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=SlotGrant)
            self.books[copy["book"]].on_grant(copy)

    @rule()
    def all_that_travels_is_lost(self) -> None:
        self.asks.clear()
        self.answers.clear()

    @invariant()
    def no_seat_is_taken_twice(self) -> None:
        for wanted in (ROOM_SLOT, PAIR_SLOT):
            taken = [seat for (_, kind), seats in self.seated.items() if kind == wanted for seat in seats]
            assert len(taken) == len(set(taken))

    def teardown(self) -> None:
        """Given that messages travel at last, all who wait are seated, and rooms are full but the last."""
        for _ in range(10_000):
            if not any(place[2].on_slot is not None for place in self.waiting):
                break
            for book in self.books.values():
                book.repeat_requests()
            for ask in [self.asks.pop(0) for _ in range(len(self.asks))]:
                if (answer := self.usher.allocate(ask)) is not None:
                    self.books[answer["book"]].on_grant(answer)
        assert not any(place[2].on_slot is not None for place in self.waiting)
        self.no_seat_is_taken_twice()
        if not self.given_up:
            for wanted in (ROOM_SLOT, PAIR_SLOT):
                taken = [seat for (_, kind), seats in self.seated.items() if kind == wanted for seat in seats]
                assert sorted(taken) == list(range(len(taken)))


Seating.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestSeating = Seating.TestCase
