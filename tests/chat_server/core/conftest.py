"""The core with fakes for its ports: a manual clock, outboxes that decode frames, a store that can fail.

The core waits in `Link.wait`. Here that runs `Stage.during_wait` first, and then commits until the signal is
set: so every switch of greenlets that the core allows is a line in a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from chat_protocol import commands
from chat_protocol.dialects.base import Encoding
from chat_protocol.dialects.ndjson import NDJSON
from chat_protocol.dialects.table import ENCODINGS
from chat_protocol.errors import ByeReason, Fault
from chat_protocol.events import ServerIdentity
from chat_server.core.base.limits import Limits
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.router import Router
from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.delivery.committer import Committer
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.observer import Observers
from chat_server.core.delivery.publisher import Publisher
from chat_server.core.sessions.session import Session
from support.fakes.failing_store import FailingStore
from support.fakes.recording_observer import RecordingObserver

if TYPE_CHECKING:
    from chat_server.core.ports.link import Outbox as OutboxPort

Frame = dict[str, Any]
NO_LIMITS = Limits(rate_messages=0, rate_bytes=0)


class Clock:
    """Does not move until it is advanced."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1.7e9

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Outbox:
    """Keeps what it got. Writing to a session that has left is an error, as with a closed socket."""

    def __init__(self) -> None:
        self.data = b""
        self.queued_bytes = 0
        self.progress_at = 0.0
        self.acked = 0  # bytes that the peer's kernel has acknowledged
        self.closed = False
        self.torn_down = False
        self.peer_stopped = False  # its peer reads nothing
        self.limit = 1000
        self.drained: Callable[[], None] = lambda: None

    @property
    def full(self) -> bool:
        return self.queued_bytes > self.limit or self.closed

    def put(self, data: bytes) -> None:
        assert not self.torn_down, data
        if self.closed:
            return
        self.data += data
        if self.peer_stopped:
            self.queued_bytes += len(data)

    def offer(self, data: bytes) -> bool:
        if self.queued_bytes and self.queued_bytes + len(data) > self.limit and not self.closed:
            return False
        self.put(data)
        return True

    def drain(self) -> None:
        """Let the peer take all that waits."""
        self.queued_bytes = 0
        self.drained()


def fan_out(outboxes: Iterable[OutboxPort], chunk: bytes) -> list[OutboxPort]:
    return [outbox for outbox in outboxes if not outbox.offer(chunk)]


class Signal:
    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True


class Link:
    """A connection whose waiting runs the rest of the server."""

    def __init__(self, stage: Stage, address: str) -> None:
        self._stage = stage
        self.address = address
        self.address_key = ""
        self.ended: Any = None
        self.bye_ref: str | None = None
        self.progressing = False
        self.hello_wait = 0.0
        self.failed_hellos = 0
        self.peer: Peer
        self.tcp_ms: float | None = 0.5

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        del message, after
        if self.ended is None:
            self.ended, self.bye_ref = reason, ref
            self.peer.outbox.closed = True
            self._stage.hub.backfill.mark_ready(self.peer.session)
            if reason is ByeReason.REPLACED:
                self._stage.during_wait.append(self.peer.disconnect)  # its greenlet finds out, and leaves

    def adopt(self, session: Session) -> None:
        self.peer.session = session
        session.link, session.outbox, session.encoding = self, self.peer.outbox, self.peer.encoding
        self.peer.outbox.drained = lambda: self._stage.hub.backfill.mark_ready(session)

    def bytes_written(self) -> int:
        return len(self.peer.outbox.data)

    def bytes_acked(self) -> int:
        return self.peer.outbox.acked

    def hello_delay(self) -> float:
        return self.hello_wait

    def record_failed_hello(self) -> None:
        self.failed_hellos += 1

    def made_progress(self) -> bool:
        return self.progressing

    def tcp_rtt_ms(self) -> float | None:
        return self.tcp_ms

    def new_signal(self) -> Any:
        return Signal()

    def wait(self, signal: Any) -> None:
        stage = self._stage
        while stage.during_wait:
            stage.during_wait.pop(0)()
        for _ in range(1000):
            if signal.is_set:
                return
            again = stage.committer.commit()
            if again is not None:
                stage.clock.advance(again)
            self.peer.outbox.drain()  # a peer that waits for an answer reads
            stage.run_backfill()
        raise AssertionError("the signal that is waited for was never set")


class Peer:
    """A connected peer: commands in, frames out."""

    def __init__(self, stage: Stage, encoding: Encoding, number: int) -> None:
        self.stage = stage
        self.outbox = Outbox()
        self.link = Link(stage, f"peer:{number}")
        self.link.peer = self
        self.encoding = encoding
        self.session = Session(self.link, self.outbox, stage.clock.now)
        self.session.encoding = encoding
        self.outbox.drained = lambda: stage.hub.backfill.mark_ready(self.session)
        self._received = 0

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def id(self) -> str:
        return self.session.id

    @property
    def lines(self) -> list[bytes]:
        """All lines so far."""
        return self.outbox.data.splitlines(keepends=True)

    @property
    def frames(self) -> list[Frame]:
        """All frames so far."""
        return [json.loads(line) for line in self.lines]

    def receive(self, kind: str | None = None) -> list[Frame]:
        """Return the frames since the last call; with `kind` those of one type, and drop the others."""
        data, self._received = self.outbox.data[self._received :], len(self.outbox.data)
        frames: list[Frame] = [json.loads(line) for line in data.splitlines()]
        return [frame for frame in frames if kind is None or frame["type"] == kind]

    def receive_one(self, kind: str) -> Frame:
        """The only frame that came since the last time, which is of that type."""
        frames = self.receive()
        assert [frame["type"] for frame in frames] == [kind], frames
        return frames[0]

    def messages(self, room: str | None = None) -> list[Frame]:
        """The live messages of a room, or of all, since the beginning."""
        return [
            frame
            for frame in self.frames
            if frame["type"] == "message" and "again" not in frame and room in {None, frame["room"]}
        ]

    def execute(self, command: commands.Command | Fault, size: int = 0) -> None:
        """Send a command; it may be carried out only after a commit."""
        self.stage.router.record_input(self.session, size)
        self.stage.router.dispatch(self.session, command)  # type: ignore[arg-type]

    def send_message(
        self, text: str = "hi", room: str | None = None, *, to: str | None = None, ref: str | None = None
    ) -> None:
        self.execute(commands.Message(message=text, room=room, to=to, ref=ref))

    def disconnect(self, *, for_good: bool = False) -> None:
        """Lose the connection: the server detaches it once the session's own messages are stored."""
        session = self.session
        if session.link is not self.link:
            return
        session.for_good |= for_good
        self.stage.hub.wait_own_delivered(session)
        self.stage.hub.disconnect(session)
        self.outbox.torn_down = self.outbox.closed = True


class Stage:
    """The core, put together as the server does it."""

    def __init__(
        self, *, limits: Limits = NO_LIMITS, store: Any = None, patience_s: float = 1.0, bound: int = 1 << 20
    ) -> None:
        self.clock = Clock()
        self.store: Any = store or FailingStore()
        self.during_wait: list[Callable[[], None]] = []
        if isinstance(self.store, FailingStore):
            self.store.during_read = self.during_wait
        self.wakes = 0
        self.stored: list[QueuedMessage] = []
        self.ingest = Ingest(self, max_bytes=bound)
        self.observer = RecordingObserver(self.stored)
        observers = Observers(self.observer)
        self.hub = Hub(
            server=ServerIdentity("greenroom", "0", "test"),
            store=self.store,
            ingest=self.ingest,
            backfill_wakeup=self,
            observers=observers,
            clock=self.clock,
            fan_out=fan_out,
            limits=limits,
            ping_interval=30.0,
            stalled_timeout=120.0,
        )
        self.publisher: Any = Publisher(
            self.clock,
            lambda: self.hub.stats,
            observers=observers,
            on_opening_done=self.hub.conversations.finish_opening,
            reopen=self.hub.conversations.reopen,
        )
        self.committer: Any = Committer(
            self.store,
            self.ingest,
            self.publisher,
            self.clock,
            lambda: self.hub.stats,
            patience_s=patience_s,
        )
        self.router = Router(self.hub)
        self._count = 0

    def wake(self) -> None:
        """Count a wake-up of the commit loop: the port `Wakeup`."""
        self.wakes += 1

    def connect(self, encoding: Encoding = NDJSON) -> Peer:
        """Return a peer that has sent nothing yet."""
        self._count += 1
        return Peer(self, encoding, self._count)

    def enter(self, name: str, *rooms: str, encoding: Encoding = NDJSON, resumable: bool = False) -> Peer:
        """Return a peer that is in `rooms` (the lobby by default), and has read the welcome."""
        peer = self.connect(encoding)
        wanted = list(rooms) if rooms else None
        peer.execute(commands.Hello(username=name, rooms=wanted, resumable=resumable))
        assert peer.id, peer.lines
        peer.outbox.acked = len(peer.outbox.data)
        peer._received = len(peer.outbox.data)
        return peer

    def run_backfill(self) -> None:
        """Run the backfill until no session is ready."""
        for _ in range(10_000):
            if self.hub.backfill.idle:
                return
            self.hub.backfill.step()
        raise AssertionError("the backfill never became idle")

    def commit(self) -> None:
        """Commit until the queue is empty; with a failing store, until everything is refused."""
        for _ in range(1000):
            again = self.committer.commit()
            if again is not None:
                self.clock.advance(again)
            elif self.committer.idle:
                return
        raise AssertionError("the ingest never became idle")

    def check(self) -> None:
        """Check all invariants, when nothing is queued."""
        hub = self.hub
        assert self.committer.idle
        assert not self.observer.errors
        assert {session.key for session in hub.sessions.values()} <= set(hub.directory)
        assert set(hub.identities) == {session.identity for session in hub.sessions.values()}
        for session in hub.sessions.values():
            assert not session.closed
            assert session.pending == 0
            assert hub.directory[session.key] is session
            opened = [room for room in hub.conversations.by_pair.values() if room.opener is session]
            assert session.opened_count == len(opened)
            for room in session.rooms.values():
                assert session in room.members
            for room in session.conversations:
                assert hub.conversations.by_pair[room.record.pair] is room  # type: ignore[index]
            refs = session.refs or {}
            assert len(refs) <= 1024
            assert not any(isinstance(entry, QueuedMessage) for entry in refs.values())
        for room in hub.rooms.values():
            assert room.members or room.record.id
        for pair, room in hub.conversations.by_pair.items():
            assert any(identity in hub.identities for identity in pair)  # one may still read
            assert (room.opener is None) == (not room.members)
            assert len(room.members) in {0, 2}
            assert not room.members or hub.conversations.by_name[room.key] is room
        for key, room in hub.conversations.by_name.items():
            assert room.key == key
            assert hub.conversations.by_pair[room.record.pair] is room  # type: ignore[index]
        for room in (*hub.rooms.values(), *hub.conversations.by_pair.values()):
            assert room.head == room.record.seq
            assert not room.record.queued
            assert sum(len(feed.sessions) for feed in room._feeds.values()) == len(room.members)


@pytest.fixture(scope="session")
def make_stage() -> type[Stage]:
    """For tests that want more than one, or settings of their own."""
    return Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(params=ENCODINGS, ids=lambda each: each.dialect)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    one: Encoding = request.param
    return one


@pytest.fixture(scope="session")
def make_clock() -> type[Clock]:
    return Clock
