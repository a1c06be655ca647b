"""Bots on an engine that the test itself drives, and a server end that says exactly what the test says.

All in one thread: the kernel completes connections by itself, so nothing happens but in a turn of the engine
or in the test's own lines.
"""

import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from chat_protocol.commands import Command, Hello, Message
from chat_protocol.dialects.ndjson import decode_command, encode
from chat_protocol.events import Event, MessageEvent, RoomState, Welcome
from chat_swarm.audit.merge import reckon
from chat_swarm.bots import payload
from chat_swarm.bots.bot_process import Engine, Member
from chat_swarm.bots.slots import Ask, Usher
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.plan import Plan
from chat_swarm.model.schema import AuditResult, Interval
from support.fakes.fake_server import make_message, make_welcome
from support.processes.process import TIMEOUT_S

Kind = TypeVar("Kind", bound=Command)
Bots = TypeVar("Bots", bound=Member)
RUN = "k7q"


class Swarm:
    """An engine, its bots, and all that it has accounted for."""

    def __init__(self, port: int, **plan: Any) -> None:
        self.intervals: list[Interval] = []
        self.counts: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}
        self._usher = Usher()
        options: dict[str, Any] = {"ping_interval": 0.0, "room_size": 1000, "room_prefix": "hall"}
        self.engine = Engine(
            Plan(port=port, **options | plan),
            RUN,
            ("127.0.0.1", port),
            ask=self._ask,
            sink=self._sink,
        )

    def begin(self, kind: type[Bots], number: int = 1) -> list[Bots]:
        bots = [kind(self.engine) for _ in range(number)]
        for bot in bots:
            bot.begin()
        return bots

    def until(self, condition: Callable[[], object], what: str = "it") -> None:
        assert self.engine.reactor.run(TIMEOUT_S, lambda: bool(condition())), f"{what} did not happen in time"

    def turn(self) -> None:
        self.engine.reactor.turn()

    def account(self) -> Counter[str]:
        """Have all be accounted for; return what was counted until now."""
        self.engine.account()
        return self.counts

    def count(self, name: str) -> int:
        """Return how often something has happened until now."""
        return self.counts[name] + self.engine.recorder.counts[name]

    def samples(self, metric: str) -> int:
        """Return how many latencies there are."""
        self.engine.account()
        return self.histograms[metric].count if metric in self.histograms else 0

    def audit(self) -> AuditResult:
        return reckon([self.engine.final()["audit"]])

    def quiet(self) -> AuditResult:
        """Stop sending, wait for all that is under way, and reckon."""
        self.engine.stop_sending()
        self.until(lambda: not self.engine.unacknowledged(), "the last acknowledgement")
        heads = self.engine.heads()
        self.until(lambda: not self.engine.behind(heads), "the last delivery")
        self.engine.account()
        return self.audit()

    def _ask(self, ask: Ask) -> None:
        answer = self._usher.answer(ask)
        assert answer is not None
        self.engine.seats.answered(answer)

    def _sink(self, interval: Interval, histograms: dict[str, Histogram]) -> None:
        self.intervals.append(interval)
        self.counts.update(interval.counts)
        for name, histogram in histograms.items():
            self.histograms.setdefault(name, Histogram()).add(histogram)


class Line:
    """The server's end of one bot's connection."""

    def __init__(self, sock: socket.socket, swarm: Swarm) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.sock = sock
        self.swarm = swarm
        self.ended = False
        self._data = b""

    def raw(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.swarm.turn()

    def send(self, *events: Event) -> None:
        self.raw(b"".join(map(encode, events)))

    def next(self, kind: type[Kind]) -> Kind:
        """Return the bot's next command, which must be of that class."""
        self.swarm.until(self._has_line, f"a {kind.__name__}")
        line, _, self._data = self._data.partition(b"\n")
        command = decode_command(line)
        assert isinstance(command, kind), command
        return command

    def came(self) -> list[bytes]:
        """Return the whole lines that have come by now."""
        self._read()
        *lines, self._data = self._data.split(b"\n")
        return lines

    def greet(self, *events: Event, **more: object) -> Welcome:
        """Answer the hello: the bot stands at the beginning of its rooms."""
        hello = self.next(Hello)
        fields: dict[str, Any] = {"username": hello.username} | more
        answer = make_welcome(*(RoomState(room, 0, 1) for room in hello.rooms or ()), **fields)
        self.send(answer, *events)
        return answer

    def end(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _has_line(self) -> bool:
        self._read()
        return b"\n" in self._data

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := self.sock.recv(1 << 16):
                self._data += piece
            self.ended = True


class ServerEnd:
    """Listens; the test accepts."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._lines: list[Line] = []

    def accept(self, swarm: Swarm) -> Line:
        taken: list[socket.socket] = []

        def try_it() -> bool:
            with contextlib.suppress(BlockingIOError):
                taken.append(self._listening.accept()[0])
            return bool(taken)

        swarm.until(try_it, "a connection")
        self._lines.append(Line(taken[0], swarm))
        return self._lines[-1]

    def has_caller(self) -> bool:
        """Take what calls, if anything does; for tests in which nobody should."""
        with contextlib.suppress(BlockingIOError):
            self._listening.accept()[0].close()
            return True
        return False

    def refuse(self) -> None:
        """Listen no more."""
        self._listening.close()

    def close(self) -> None:
        self._listening.close()
        for line in self._lines:
            line.sock.close()


def echo(name: str, message: Message, seq: int, **more: Any) -> MessageEvent:
    """Return what a member of the room gets for what the bot of that name has said."""
    fields: dict[str, Any] = {"message": message.message, "ref": message.ref, "room": "hall-0"} | more
    return make_message(seq, fields.pop("room"), name, **fields)


def stamped(message: Message) -> payload.Stamp:
    """Return what a bot's message says of itself."""
    found = payload.read(RUN, message.message)
    assert found is not None
    return found


def spoken(
    seq: int, sender: str, counter: int, sent_ns: int = 0, room: str = "hall-0", **more: Any
) -> MessageEvent:
    """Return a message of this run; `sent_ns` 0: it is sent now."""
    sent = sent_ns or time.time_ns()
    fields: dict[str, Any] = {"message": payload.write(RUN, counter, sent, sent, 100)} | more
    return make_message(seq, room, sender, **fields)
