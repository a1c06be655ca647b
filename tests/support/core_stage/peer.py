"""A peer of the core: its link, its outbox, and the frames that it has received."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chat_protocol import commands
from chat_protocol.errors import ByeReason, Fault
from chat_server.core.sessions.lifecycle import SessionEvent
from chat_server.core.sessions.session import BaseSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from chat_protocol.dialects.base import Encoding
    from chat_server.core.delivery.room import Session
    from support.core_stage.stage import Stage

Frame = dict[str, Any]


class Outbox:
    """Keeps what it got. Writing to a session that has left is an error, as with a closed socket."""

    def __init__(self) -> None:
        self.data = b""
        self.queued_bytes = 0
        self.progress_at = 0.0
        self.acked = 0  # bytes that the peer's kernel has acknowledged
        self.closed = False
        self.torn_down = False
        self.deferred = False  # whether what is queued waits for the fan-out
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

    def defer(self, size: int) -> None:
        """Let so many bytes wait for the fan-out."""
        self.deferred = True
        self.queued_bytes += size

    def send_deferred(self) -> None:
        if self.deferred:
            self.deferred = False
            self.queued_bytes = 0

    def drain(self) -> None:
        """Let the peer take all that waits."""
        self.queued_bytes = 0
        self.drained()


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
        self.paused = False

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
        stage.note_wait()
        stage.running.append(None)
        try:
            self._wait(stage, signal)
        finally:
            stage.running.pop()

    def _wait(self, stage: Stage, signal: Any) -> None:
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
        self.session: Session = BaseSession(self.link, self.outbox, stage.clock.now)
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
        self.stage.running.append(type(command))
        try:
            with self.stage.asked.watched():
                self.stage.router.dispatch(self.session, command)  # type: ignore[arg-type]
        finally:
            self.stage.running.pop()

    def send_message(
        self, text: str = "hi", room: str | None = None, *, to: str | None = None, ref: str | None = None
    ) -> None:
        self.execute(commands.Message(message=text, room=room, to=to, ref=ref))

    def disconnect(self, *, for_good: bool = False) -> None:
        """Lose the connection: the server detaches it once the session's own messages are stored."""
        session = self.session
        if session.link is not self.link:
            return
        if for_good:
            session.apply(SessionEvent.LEAVE)
        self.stage.hub.wait_own_delivered(session)
        self.stage.hub.lifecycle.disconnect(session)
        self.outbox.torn_down = self.outbox.closed = True
