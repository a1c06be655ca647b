"""The faults that the lying proxy injects into the deliveries of its connections, and its record of them.

Sans-I/O: bytes and times go in, due bytes come out.
"""

import argparse
import json
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

_FAULTS_LISTED: Final = 1_000  # faults listed one by one in the report
_ONCE_PER_DELIVERIES: Final = (
    50  # a single fault hits one of so many deliveries, at most one of twice as many
)
_SWAP_WAIT_S: Final = 1.0  # longest wait of a message for the next one, to be swapped with it
_MESSAGE_PREFIX: Final = b'{"type":"message"'
_WELCOME_PREFIX: Final = b'{"type":"welcome"'
_SEQS_AHEAD: Final = 20
_FREEZE_AFTER_DELIVERIES: Final = 200  # all connections stall once so many deliveries have passed


def _other_letter(text: str) -> str:
    return text[:-1] + ("#" if text[-1] != "#" else "+")


ALTERATIONS: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "text": lambda frame: {"message": _other_letter(frame["message"])},
    "header": lambda frame: {"message": "S" + frame["message"][1:]},
    "from": lambda frame: {"from": _other_letter(frame["from"])},
    "username": lambda frame: {"username": _other_letter(frame["username"])},
    "timestamp": lambda frame: {"timestamp": frame["timestamp"] + 0.001},
    "ref": lambda frame: {"ref": "1" + str(frame.get("ref", ""))},
    "room": lambda frame: {"room": _other_letter(frame["room"])},
}
"""What one altered delivery has otherwise than the server's."""


class RandomTrigger:
    """Fires for one delivery in `every` on average, at random distances of up to twice that; or only once."""

    def __init__(self, source: random.Random, every: int, *, once: bool) -> None:
        self._source = source
        self._every = every or (_ONCE_PER_DELIVERIES if once else 0)
        self._once = once and not every
        self._left = self._draw()

    def fires(self) -> bool:
        self._left -= 1
        if self._left:
            return False
        self._left = 0 if self._once else self._draw()
        return True

    def _draw(self) -> int:
        return self._source.randrange(1, 2 * self._every) if self._every else 0


class InjectedFaults:
    """The faults to inject into all deliveries, and those injected so far."""

    def __init__(self, plan: argparse.Namespace) -> None:
        source = random.Random(plan.seed)
        self.drop = RandomTrigger(source, plan.drop, once=plan.drop_once)
        self.repeat = RandomTrigger(source, plan.repeat, once=plan.repeat_once)
        self.swap = RandomTrigger(source, plan.swap, once=plan.swap_once)
        self.delay = RandomTrigger(source, plan.delay, once=False)
        self.delay_seconds: float = plan.delay_ms / 1e3
        self.alter_trigger = RandomTrigger(source, 0, once=bool(plan.alter))
        self.alteration: str = plan.alter
        self.receivers: str = plan.altered_for
        self.altered: tuple[str, int] | None = None  # (room, seq) once it is chosen
        self.freeze_seconds: float = plan.freeze_ms / 1e3
        self.frozen_until = 0.0
        self.counts = Counter[str](
            connections=0, deliveries=0, dropped=0, repeated=0, swapped=0, delayed=0, altered=0, frozen=0
        )
        self.done: list[dict[str, Any]] = []

    def record(self, what: str, line: bytes, receiver: str = "") -> None:
        self.counts[what] += 1
        if len(self.done) < _FAULTS_LISTED:
            frame = json.loads(line)
            self.done.append({"what": what, "room": frame["room"], "seq": frame["seq"], "to": receiver})

    def must_alter(self, frame: dict[str, Any], receiver: str, address: str) -> bool:
        """Return whether a delivery is altered: one only, or all those of one seq to some receivers."""
        own = frame["username"] == receiver
        if {"sender": not own, "other": own, "second": address != "127.0.0.2"}.get(self.receivers, False):
            return False
        room, seq = frame["room"], frame["seq"]
        several = self.receivers in {"all", "second"}
        if self.altered is None and self.alter_trigger.fires():
            # Of several, a message that no connection has had yet
            self.altered = room, seq + _SEQS_AHEAD if several else seq
            return not several
        return several and (room, seq) == self.altered

    def freeze(self, now: float) -> None:
        """Begin the standstill of all connections when it is time."""
        if (
            self.freeze_seconds
            and not self.frozen_until
            and self.counts["deliveries"] > _FREEZE_AFTER_DELIVERIES
        ):
            self.frozen_until = now + self.freeze_seconds
            self.counts["frozen"] += 1


def is_delivery(line: bytes) -> bool:
    """Return whether the line is a delivery; an `again` answer to a repeated `ref` is not one."""
    if not line.startswith(_MESSAGE_PREFIX) and json.loads(line).get("type") != "message":
        return False
    return b'"again":true' not in line  # quotes within a text are escaped


class DeliveryQueue:
    """Lines for one client with their due times, in order of arrival except for swaps."""

    def __init__(self, faults: InjectedFaults, address: str = "") -> None:
        self._faults = faults
        self._address = address
        self._receiver = ""  # the client's username, by its welcome
        self._partial = b""
        self._swap_waiting: tuple[float, bytes] | None = None  # (deadline, line) that waits for the next one
        self._due = 0.0
        self._queue: deque[tuple[float, bytes]] = deque()
        self.size = 0

    def add_bytes(self, data: bytes, now: float) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._add_line(line + b"\n", now)

    def next_due(self) -> float | None:
        """Return the earliest due time; None if the queue is empty."""
        due = [] if self._swap_waiting is None else [self._swap_waiting[0]]
        if self._queue:
            due.append(self._queue[0][0])
        return min(due) if due else None

    def pop_due(self, now: float) -> bytes:
        """Return the bytes that are due."""
        if (
            self._swap_waiting is not None and self._swap_waiting[0] <= now
        ):  # no further line came: deliver it in its place
            line, self._swap_waiting = self._swap_waiting[1], None
            self._enqueue(line, now)
        ready = []
        while self._queue and self._queue[0][0] <= now:
            ready.append(self._queue.popleft()[1])
        data = b"".join(ready)
        self.size -= len(data)
        return data

    def pop_all(self) -> bytes:
        """Return everything, since the server has closed the connection."""
        last = b"" if self._swap_waiting is None else self._swap_waiting[1]
        data = b"".join(line for _, line in self._queue) + last + self._partial
        self._queue.clear()
        self._swap_waiting = None
        self._partial = b""
        self.size = 0
        return data

    def _add_line(self, line: bytes, now: float) -> None:
        faults = self._faults
        if not is_delivery(line):
            if line.startswith(_WELCOME_PREFIX):
                self._receiver = json.loads(line)["username"]
            self._enqueue(line, now)
            return
        faults.counts["deliveries"] += 1
        if faults.alteration and faults.must_alter(frame := json.loads(line), self._receiver, self._address):
            changed = frame | ALTERATIONS[faults.alteration](frame)
            faults.record("altered", line, self._receiver)
            self._enqueue(
                json.dumps(changed, separators=(",", ":"), ensure_ascii=False).encode() + b"\n", now
            )
            return
        if self._swap_waiting is not None and _room(self._swap_waiting[1]) == _room(line):
            held, self._swap_waiting = self._swap_waiting[1], None
            self._enqueue(line, now)
            self._enqueue(held, now)
            faults.record("swapped", held, self._receiver)
        elif faults.drop.fires():
            faults.record("dropped", line, self._receiver)
        elif faults.repeat.fires():
            self._enqueue(line + line, now)
            faults.record("repeated", line, self._receiver)
        elif self._swap_waiting is None and faults.swap.fires():
            self._swap_waiting = now + _SWAP_WAIT_S, line
        elif faults.delay.fires():
            self._due = max(self._due, now + faults.delay_seconds)
            self._enqueue(line, now)
            faults.record("delayed", line, self._receiver)
        else:
            self._enqueue(line, now)

    def _enqueue(self, line: bytes, now: float) -> None:
        self._due = max(self._due, now)
        self._queue.append((self._due, line))
        self.size += len(line)


def _room(line: bytes) -> str:
    room: str = json.loads(line)["room"]
    return room
