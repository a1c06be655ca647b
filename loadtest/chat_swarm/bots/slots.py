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

ASK: Final = "swarm_seats"
"""Locust's name of the message with an `Ask`, worker → master."""
ANSWER: Final = "swarm_seated"
"""Locust's name of the message with an `Answer`, master → worker."""

ROOM: Final = "room"
PAIR: Final = "pair"


class Ask(TypedDict):
    """`book` wants `count` seats. `number` counts its asks of that kind from 1; a repeat has the same one."""

    book: str
    kind: str
    number: int
    count: int


class Answer(TypedDict):
    """The seats for ask `number` of `book`."""

    book: str
    kind: str
    number: int
    seats: list[int]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a seat's number means: rooms of `room_size` in turn, or `rooms` rooms filled evenly."""

    room_size: int
    rooms: int = 0

    def room(self, seat: int) -> tuple[int, int]:
        """Return (number of the room, place in it)."""
        if self.rooms:
            place, room = divmod(seat, self.rooms)
            return room, place
        return divmod(seat, self.room_size)

    def block(self, processes: int) -> int:
        """Return how many room seats to ask for at most, so that a room is mixed of all processes."""
        return max(1, self.room_size // (2 * processes))


def partner(seat: int) -> int:
    """Return the other seat of a pair."""
    return seat ^ 1


class Usher:
    """Gives out seats, lowest free first."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}
        self._given: dict[tuple[str, str], list[int]] = {}
        self._last: dict[tuple[str, str], Answer] = {}

    def answer(self, ask: Ask) -> Answer | None:
        """Return the answer; to an ask that came twice the same again, to one that is out of date none."""
        key = ask["book"], ask["kind"]
        last = self._last.get(key)
        if last is not None and ask["number"] <= last["number"]:
            return last if ask["number"] == last["number"] else None
        seats = [self._seat(ask["kind"]) for _ in range(ask["count"])]
        self._given.setdefault(key, []).extend(seats)
        answer = Answer(book=ask["book"], kind=ask["kind"], number=ask["number"], seats=seats)
        self._last[key] = answer
        return answer

    def gone(self, book: str) -> None:
        """Free all seats of a book whose process has ended. It MUST NOT come back under that name."""
        for key in [key for key in self._given if key[0] == book]:
            for seat in self._given.pop(key):
                heappush(self._free.setdefault(key[1], []), seat)
            self._last.pop(key, None)

    def _seat(self, kind: str) -> int:
        if free := self._free.get(kind):
            return heappop(free)
        seat = self._next.get(kind, 0)
        self._next[kind] = seat + 1
        return seat


class Waiting:
    """A bot's place in the queue for a seat."""

    __slots__ = ("then",)

    def __init__(self, then: Callable[[int], None]) -> None:
        self.then: Callable[[int], None] | None = then

    def cancel(self) -> None:
        """Want no seat any more. One that was given already must be given back instead."""
        self.then = None


class _Shelf:
    """What a book knows about one kind."""

    __slots__ = ("asked", "busy", "free", "number", "queue", "taken")

    def __init__(self) -> None:
        self.queue: deque[Waiting] = deque()
        self.free: list[int] = []
        self.taken: set[int] = set()
        self.number = 0
        self.asked: Ask | None = None
        self.busy = False


class SeatBook:
    """The seats of one process. `ask` hands an `Ask` on; it may be answered before it returns."""

    def __init__(self, name: str, blocks: dict[str, int], ask: Callable[[Ask], None]) -> None:
        """Be known as `name`, which MUST differ from that of any other book, also of earlier runs.

        `blocks` says for each kind how many seats to ask for at once, at most.
        """
        self._name = name
        self._blocks = blocks
        self._ask = ask
        self._shelves = {kind: _Shelf() for kind in blocks}

    def wait(self, kind: str, then: Callable[[int], None]) -> Waiting:
        """Call `then` with a seat, now or later."""
        waiting = Waiting(then)
        self._shelves[kind].queue.append(waiting)
        self._serve(kind)
        return waiting

    def give_back(self, kind: str, seat: int) -> None:
        """Free a seat for the next bot of this process."""
        shelf = self._shelves[kind]
        shelf.taken.remove(seat)
        heappush(shelf.free, seat)
        self._serve(kind)

    def answered(self, answer: Answer) -> None:
        """Take an answer. One that came before, or is for another book, changes nothing."""
        shelf = self._shelves.get(answer["kind"])
        if (
            shelf is None
            or shelf.asked is None
            or answer["book"] != self._name
            or answer["number"] != shelf.asked["number"]
        ):
            return
        shelf.asked = None
        for seat in answer["seats"]:
            heappush(shelf.free, seat)
        self._serve(answer["kind"])

    def ask_again(self) -> None:
        """Repeat what was not answered; to be called about once a second, since a message may be lost."""
        for shelf in self._shelves.values():
            if shelf.asked is not None:
                self._ask(shelf.asked)

    def _serve(self, kind: str) -> None:
        shelf = self._shelves[kind]
        if shelf.busy:  # called by what the loop below calls; the loop goes on
            return
        shelf.busy = True
        try:
            while True:
                while shelf.queue and shelf.queue[0].then is None:
                    shelf.queue.popleft()
                if shelf.queue and shelf.free:
                    self._seat(shelf)
                elif shelf.queue and shelf.asked is None:
                    # Never more than are wanted now: a seat in reserve would be a hole in a room.
                    shelf.number += 1
                    wanted = (waiting for waiting in shelf.queue if waiting.then is not None)
                    count = sum(1 for _ in islice(wanted, self._blocks[kind]))
                    shelf.asked = Ask(book=self._name, kind=kind, number=shelf.number, count=count)
                    self._ask(shelf.asked)
                else:
                    return
        finally:
            shelf.busy = False

    @staticmethod
    def _seat(shelf: _Shelf) -> None:
        waiting = shelf.queue.popleft()
        then, waiting.then = waiting.then, None
        seat = heappop(shelf.free)
        shelf.taken.add(seat)
        if then is not None:
            then(seat)
