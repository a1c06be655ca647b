"""The one place of the plays that knows how the core is put together (what its state is called: snapshot.py).

It builds the core as the server does, and passes on what comes from a connection. With snapshot.py it is all
that another version of the core needs in its own form: their transcripts can then be compared.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

from chat_protocol import LOBBY, commands
from chat_protocol.errors import Refused
from chat_protocol.events import Event, ServerIdentity
from chat_server.core import assembly
from chat_server.core.base.limits import Limits
from chat_server.core.delivery.observer import Observer, Observers
from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.sessions import detached
from chat_server.core.sessions.session import BaseSession
from chat_server.engines.memory import MemoryEngine
from chat_server.engines.sqlite.log import SqliteEngine
from support.plays.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from chat_protocol.dialects.base import Codec, Incoming
    from support.plays.connection import Connection, Outbox
    from support.plays.loop import Signal

SMALL: Final[Mapping[str, int]] = {
    "CHUNK_MESSAGES": 2,
    "CHUNK_BYTES": 700,
    "CHUNK_TEXT_BYTES": 300,
    "TAIL_MESSAGES": 1,
    "CONVERSATIONS_KEPT": 2,
    "REFS_KEPT": 3,
    "HELD_REFS_KEPT": 1,
    "LARGE_ROOM_MEMBERS": 2,
    "MAX_REFUSALS": 9,
    "PAGE_ENTRIES": 2,
    "EXTRA_SESSIONS_PER_TICK": 1,
    "_LIST_BYTES": 130,
}
"""Constants of the server that a play may make so small that their bounds are reached."""


@contextlib.contextmanager
def small(names: list[str]) -> Iterator[None]:
    """Make these constants small, in each module that has them."""
    changed: list[tuple[Any, str, Any]] = []
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("chat_server.")]
    try:
        for name in names:
            own = [module for module in modules if name in vars(module)]
            assert own, f"no module has the constant {name}"
            for module in own:
                changed.append((module, name, getattr(module, name)))
                setattr(module, name, SMALL[name])
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def open_engine(path: Path | None, gate: Callable[[str], None], clock: Callable[[], float]) -> Any:
    """Return the engine of a data file, or of the memory; `gate` is called where it may wait or fail."""
    return Gated(path, gate, clock)


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Replace a native thread by a direct call."""
    return function(*args)


class Gated:
    """An engine that waits and fails when the play says so: `gate` raises `StoreUnavailable` then."""

    def __init__(self, path: Path | None, gate: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._engine: Any = (
            MemoryEngine(12, lambda: self._begun_at)
            if path is None
            else SqliteEngine(
                path, full_sync=False, clock=lambda: self._begun_at, offload=run, read_offload=run
            )
        )
        self._gate = gate
        self._clock = clock
        self._begun_at = clock()  # of the last write: its messages have that time, however long it waits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def write(self, *args: Any) -> Any:
        return self._gated_write(self._engine.write, *args)

    def append(self, *args: Any) -> Any:
        return self._gated_write(self._engine.append, *args)

    def read(self, *args: Any, **options: Any) -> Any:
        return self._gated_read(self._engine.read, *args, **options)

    def conversation_named(self, *args: Any) -> Any:
        return self._gated_read(self._engine.conversation_named, *args)

    def refs(self, *args: Any) -> Any:
        return self._gated_read(self._engine.refs, *args)

    def find(self, *args: Any) -> Any:
        return self._gated_read(self._engine.find, *args)

    def _gated_write(self, write: Callable[..., Any], *args: Any) -> Any:
        self._begun_at = self._clock()
        self._gate("append")
        answer = write(*args)
        self._gate("appended")
        return answer

    def _gated_read(self, read: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._gate("read")
        answer = read(*args, **options)
        self._gate("answer")
        return answer


def successor_of(codec: Codec) -> Codec | None:
    """Return the codec that takes over from this one, if it has found one."""
    return codec.successor


def encode(codec: Codec, event: Event) -> bytes:
    """Return an event in the codec's dialect."""
    return codec.encoding.encode(event)


def fail(what: str) -> None:
    """Fail as an engine does that cannot write or read now."""
    raise StoreUnavailable(what)


class Reports(Observer):
    """Writes down what the core reports."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def session_opened(self, session: Any, *, resumed: bool) -> None:
        self._note(f"{'resumed' if resumed else 'opened'} {session.name}")

    def session_lagging(self, session: Any, lagging: Any) -> None:
        self._note(f"{session.name} lags, {lagging.missing_messages()} messages missing")

    def session_caught_up(self, session: Any, lagging: Any) -> None:
        self._note(f"{session.name} has caught up, {lagging.messages_sent} messages sent")

    def messages_stored(self, messages: Any) -> None:
        stored = ", ".join(f"{one.username} {one.room.name} {one.seq}" for one in messages)
        self._note(f"stored {stored}")

    def delivery_failed(self, error: Exception) -> None:
        self._note(f"delivery failed: {error!r}")


class Core:
    """The core of one run of the server."""

    def __init__(
        self,
        engine: Any,
        clock: Any,
        *,
        fan_out: Any,
        commit_wakeup: Any,
        backfill_wakeup: Any,
        note: Callable[[str], None],
        limits: Mapping[str, float],
        patience_s: float,
        queue_bytes: int,
        ping_interval: float,
        stalled_timeout: float,
        resume_hold: float,
    ) -> None:
        self.engine = engine
        self._clock = clock
        self._deleting: Any = None  # a room
        core = assembly.Core(
            server=ServerIdentity("greenroom", "0", "test"),
            address="",
            log=engine,
            registry=engine,
            clock=clock,
            fan_out=fan_out,
            commit_wakeup=commit_wakeup,
            backfill_wakeup=backfill_wakeup,
            observers=Observers(Reports(note)),
            limits=make_limits(limits),
            ingest_bytes=queue_bytes,
            store_patience=patience_s,
            ping_interval=ping_interval,
            stalled_timeout=stalled_timeout,
            resume_hold=resume_hold,
        )
        self.hub, self.ingest, self.committer, self.router = (
            core.hub,
            core.ingest,
            core.committer,
            core.router,
        )

    # For a connection

    def new_session(self, link: Connection, outbox: Outbox) -> Any:
        """Return the session of a new connection."""
        return BaseSession(link, outbox, self._clock.monotonic())

    @staticmethod
    def set_encoding(session: Any, codec: Codec) -> None:
        """Answer a session as its codec does."""
        session.encoding = codec.encoding

    @staticmethod
    def set_paused(session: Any, *, paused: bool) -> None:
        session.link.paused = paused

    @staticmethod
    def adopt(session: Any, link: Connection, outbox: Outbox, codec: Codec) -> None:
        """Attach a resumed session to a connection."""
        session.link, session.outbox, session.encoding = link, outbox, codec.encoding

    @staticmethod
    def release(session: Any, link: Connection) -> None:
        """Detach what is left of a session from a connection that has closed."""
        if session.link is link:
            session.link, session.outbox = detached.LINK, detached.OUTBOX

    @staticmethod
    def send_if_open(session: Any, event: Event) -> None:
        session.send_if_open(event)

    def record_input(self, session: Any, size: int) -> None:
        self.router.record_input(session, size)

    def dispatch(self, session: Any, item: Incoming) -> None:
        """Execute one command. May wait."""
        self.router.dispatch(session, item)

    def signal_of_space(self, new_signal: Callable[[], Signal]) -> Signal | None:
        """Return the signal to wait for before the next command, None if the queue has space."""
        if not self.ingest.full:
            return None
        signal = new_signal()
        self.ingest.notify_when_space(signal)
        return signal

    def on_drained(self, session: Any) -> None:
        """Note that an outbox is empty."""
        if session.lagging is not None:
            self.hub.backfill.mark_ready(session)

    def on_input_closed(self, session: Any) -> None:
        """Note that an outbox takes nothing more."""
        self.hub.backfill.mark_ready(session)

    def disconnect(self, session: Any, on_closed: Callable[[], None]) -> None:
        """Detach a session from its connection, as `net/connections.py` does. May wait."""
        try:
            self.hub.wait_own_delivered(session)
            if session.record is None:
                self.hub.lifecycle.persist_closings(session)
            on_closed()
        finally:
            self.hub.lifecycle.disconnect(session)

    @staticmethod
    def awaits_acknowledgement(session: Any) -> bool:
        """Return whether its peer has yet to get its own message back."""
        if session.pending:
            return True
        return session.lagging is not None and bool(session.lagging.owes_own_message())

    # For the server's loops

    @property
    def idle(self) -> bool:
        """Return whether no session waits for a commit."""
        return self.committer.idle

    @property
    def failing(self) -> bool:
        """Return whether the last commit has failed."""
        return self.committer.last_error is not None

    def commit(self) -> float | None:
        """Commit once; return the seconds until the next attempt is due. May wait."""
        return self.committer.commit()

    @property
    def fed(self) -> bool:
        """Return whether the backfill has nothing to do."""
        return self.hub.backfill.idle

    def feed(self) -> None:
        """Run one step of the backfill. May wait."""
        self.hub.backfill.step()

    def tasks(self) -> tuple[Callable[[], object], ...]:
        """Return the tasks of the server's ticker, in its order."""
        hub = self.hub
        return (
            *(hub.presence_updates.flush, hub.heartbeat.tick, hub.backfill.tick),
            *(hub.resumable.tick, hub.closings.tick),
        )

    def trim(self, keep: int, before: float) -> int:
        """Run one step of retention; return the number of rooms that have lost messages."""
        deleted = self.engine.trim(keep=keep, before=before)
        self.hub.trim_tails(deleted)
        return len(deleted)

    def set_limits(self, limits: Mapping[str, float]) -> None:
        """Apply reloaded settings."""
        self.hub.limits = make_limits(limits)

    # For the operator

    def start_operator(self, link: Connection, outbox: Outbox) -> Any:
        """Return the session of the operator, as `console/console.py` makes it: in the lobby."""
        session: Any = BaseSession(link, outbox, self._clock.monotonic())
        self.hub.lifecycle.activate_operator(session, self.hub.registry.new_identity())
        self.hub.rooms.join(self.hub.rooms.find_or_make(LOBBY), session)
        return session

    def say(self, session: Any, text: str, to: str | None) -> None:
        """Let the operator send a message."""
        session.read_at = self._clock.monotonic()
        self.router.dispatch(
            session, commands.Message(message=text, room=LOBBY if to is None else None, to=to)
        )

    def delete_room(self, number: int) -> str:
        """Begin to delete a room, or end it once nothing of it is queued, as `core/chat/deletion.py` does."""
        rooms, deleting = self.hub.rooms, self._deleting
        if deleting is not None:
            if self.ingest.holds(deleting) or deleting.is_queued:
                return f"{deleting.name} is not delivered yet"
            self._deleting = None
            return f"{deleting.name} is deleted, {rooms.delete(deleting)} members"
        names = sorted({*rooms} - {LOBBY})
        try:
            self._deleting = rooms.begin_deletion(names[number % len(names)] if names else LOBBY)
        except Refused as refusal:
            return refusal.message
        return f"{self._deleting.name} is to be deleted"

    def kick(self, name: str) -> str:
        """Kick a user; return what the operator is answered."""
        try:
            user = self.hub.directory.require_user(name)
            self.hub.lifecycle.kick(user)
        except Refused as refusal:
            return refusal.message
        return f"{name} was kicked"

    def snapshot(self) -> dict[str, str]:
        """Return the state of the core in words."""
        return snapshot(self.hub, self.ingest, self.committer)


def make_limits(limits: Mapping[str, float]) -> Limits:
    """Return limits; those that are not given are off."""
    return Limits(**({"rate_messages": 0, "rate_bytes": 0} | dict(limits)))  # type: ignore[arg-type]
