"""A bot process that the test drives itself, and a scripted server that sends exactly what the test sends.

All in one thread: the kernel completes connections by itself, so everything else happens in an iteration of
the event loop or in the test's own lines.
"""

import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from chat_protocol.commands import Command, Hello, Message
from chat_protocol.dialects.ndjson import decode_command, encode
from chat_protocol.events import Event, MessageEvent, RoomState, Welcome
from chat_swarm.audit.merge import merge_audits
from chat_swarm.bots import payload
from chat_swarm.bots.bot_process import Bot, BotProcess
from chat_swarm.bots.slots import SlotAllocator, SlotRequest
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.plan import RunPlan
from chat_swarm.model.schema import AuditResult, ProcessSecond
from support.fakes.fake_server import make_message, make_welcome
from support.processes.process import TIMEOUT_S, eventually

Kind = TypeVar("Kind", bound=Command)
Bots = TypeVar("Bots", bound=Bot)
RUN_ID = "k7q"


class SwarmHarness:
    """A bot process, its bots, and all its reports."""

    def __init__(self, port: int, **plan: Any) -> None:
        self.intervals: list[ProcessSecond] = []
        self.counts: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}
        self._allocator = SlotAllocator()
        options: dict[str, Any] = {"ping_interval": 0.0, "room_size": 1000, "room_prefix": "hall"}
        self.process = BotProcess(
            RunPlan(port=port, **options | plan),
            RUN_ID,
            ("127.0.0.1", port),
            send_slot_request=self._send_slot_request,
            sink=self._sink,
        )

    def start_bots(self, kind: type[Bots], number: int = 1) -> list[Bots]:
        bots = [kind(self.process) for _ in range(number)]
        for bot in bots:
            bot.start()
        return bots

    def wait_until(self, condition: Callable[[], object], what: str = "it") -> None:
        assert self.process.loop.run_for(TIMEOUT_S, lambda: bool(condition())), (
            f"{what} did not happen in time"
        )

    def run_once(self) -> None:
        self.process.loop.run_once()

    def flush_counts(self) -> Counter[str]:
        """Flush the current report; return all counts until now."""
        self.process.report_second()
        return self.counts

    def count_of(self, name: str) -> int:
        """Return a count until now, by its name in `metric_names.COUNTS`."""
        return self.counts[name] + self.process.recorder.counts[name]

    def sample_count(self, metric: str) -> int:
        """Return the number of samples of a latency until now."""
        self.process.report_second()
        return self.histograms[metric].count if metric in self.histograms else 0

    def merged_audit(self) -> AuditResult:
        return merge_audits([self.process.final_report()["audit"]])

    def drain_and_audit(self) -> AuditResult:
        """Stop sending, wait for everything in flight, and return the merged audit."""
        self.process.stop_sending()
        self.wait_until(lambda: not self.process.count_unacknowledged(), "the last acknowledgement")
        heads = self.process.heads()
        self.wait_until(lambda: not self.process.count_behind(heads), "the last delivery")
        self.process.report_second()
        return self.merged_audit()

    def _send_slot_request(self, request: SlotRequest) -> None:
        grant = self._allocator.allocate(request)
        assert grant is not None
        self.process.slots.on_grant(grant)

    def _sink(self, interval: ProcessSecond, histograms: dict[str, Histogram]) -> None:
        self.intervals.append(interval)
        self.counts.update(interval.counts)
        for name, histogram in histograms.items():
            self.histograms.setdefault(name, Histogram()).add(histogram)


class ServerConnection:
    """The server's end of one bot's connection."""

    def __init__(self, sock: socket.socket, swarm: SwarmHarness) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.sock = sock
        self.swarm = swarm
        self.peer_closed = False
        self._data = b""

    def send_bytes(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.swarm.run_once()

    def send(self, *events: Event) -> None:
        self.send_bytes(b"".join(map(encode, events)))

    def wait_received(self) -> None:
        """Wait until the kernel has all that was sent ready for the bot, which does not read meanwhile."""
        wait_received(self.sock)

    def expect(self, kind: type[Kind]) -> Kind:
        """Return the bot's next command, which must be of the class `kind`."""
        self.swarm.wait_until(self._has_line, f"a {kind.__name__}")
        line, _, self._data = self._data.partition(b"\n")
        command = decode_command(line)
        assert isinstance(command, kind), command
        return command

    def received_lines(self) -> list[bytes]:
        """Return the whole lines received by now."""
        self._read()
        *lines, self._data = self._data.split(b"\n")
        return lines

    def greet(self, *events: Event, **more: object) -> Welcome:
        """Answer the `hello`; the bot's position in its rooms is 0."""
        hello = self.expect(Hello)
        fields: dict[str, Any] = {"username": hello.username} | more
        answer = make_welcome(*(RoomState(room, 0, 1) for room in hello.rooms or ()), **fields)
        self.send(answer, *events)
        return answer

    def close(self) -> None:
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
            self.peer_closed = True


def wait_received(sock: socket.socket) -> None:
    """Wait until the peer's kernel has all that was sent: on a busy machine that is later than the `send`."""
    eventually(
        lambda: not any(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))), "the acknowledgement of what was sent"
    )


class ScriptedServer:
    """A listening socket; the test accepts connections and plays the server on them."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._connections: list[ServerConnection] = []

    def accept(self, swarm: SwarmHarness) -> ServerConnection:
        taken: list[socket.socket] = []

        def try_it() -> bool:
            with contextlib.suppress(BlockingIOError):
                taken.append(self._listening.accept()[0])
            return bool(taken)

        swarm.wait_until(try_it, "a connection")
        self._connections.append(ServerConnection(taken[0], swarm))
        return self._connections[-1]

    def has_connection(self) -> bool:
        """Return whether a client has connected, and close that connection; for tests that expect none."""
        with contextlib.suppress(BlockingIOError):
            self._listening.accept()[0].close()
            return True
        return False

    def stop_listening(self) -> None:
        """Close the listening socket: further connections are refused."""
        self._listening.close()

    def close(self) -> None:
        self._listening.close()
        for line in self._connections:
            line.sock.close()


def echo(name: str, message: Message, seq: int, **more: Any) -> MessageEvent:
    """Return the event that members of the room get for a message of the bot `name`."""
    fields: dict[str, Any] = {"message": message.message, "ref": message.ref, "room": "hall-0"} | more
    sender = fields.pop("sender", "me")  # the public id in every scripted welcome
    return make_message(seq, fields.pop("room"), sender, username=name, **fields)


def header_of(message: Message) -> payload.PayloadHeader:
    """Return the payload header of a bot's message."""
    found = payload.parse_header(RUN_ID, message.message)
    assert found is not None
    return found


def message_from(
    seq: int, sender: str, counter: int, sent_ns: int = 0, room: str = "hall-0", **more: Any
) -> MessageEvent:
    """Return a message event of this run; `sent_ns` 0: now."""
    sent = sent_ns or time.time_ns()
    fields: dict[str, Any] = {"message": payload.build_text(RUN_ID, counter, sent, sent, 100)} | more
    return make_message(seq, room, sender, **fields)
