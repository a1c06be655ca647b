"""The core, put together as the server does it, and driven by the test: each wait is a line of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chat_protocol import commands
from chat_protocol.dialects.ndjson import NDJSON
from chat_protocol.errors import Fault
from chat_protocol.events import ServerIdentity
from chat_server.core.assembly import Core
from chat_server.core.base.limits import Limits
from chat_server.core.commands.router import TABLE
from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.delivery.observer import Observers
from chat_server.core.sessions.lifecycle import SessionState
from chat_server.core.sessions.membership import MembershipState
from support.core_stage.clock import Clock
from support.core_stage.peer import Peer
from support.core_stage.permissions import AskedPermissions
from support.fakes.failing_store import FailingStore
from support.fakes.plain_fan_out import PlainFanOut
from support.fakes.recording_observer import RecordingObserver

if TYPE_CHECKING:
    from collections.abc import Callable

    from chat_protocol.dialects.base import Encoding
    from chat_server.core.delivery.room import Session

NO_LIMITS = Limits(rate_messages=0, rate_bytes=0)


class Stage:
    """The core, put together as the server does it."""

    def __init__(
        self, *, limits: Limits = NO_LIMITS, store: Any = None, patience_s: float = 1.0, bound: int = 1 << 20
    ) -> None:
        self.clock = Clock()
        self.store: Any = store or FailingStore(self.clock.time)
        self.during_wait: list[Callable[[], None]] = []
        if isinstance(self.store, FailingStore):
            self.store.during_read = self.during_wait
            self.store.on_wait = self.note_wait
        self.wakes = 0
        self.running: list[type | None] = []  # commands that are executed; None while one of them waits
        self.waited: set[type] = set()  # commands that have waited
        self.asked = AskedPermissions(self.running_command)
        self.stored: list[QueuedMessage] = []
        self.observer = RecordingObserver(self.stored)
        self.core = Core(
            server=ServerIdentity("greenroom", "0", "test"),
            address="",
            log=self.store,
            registry=self.store,
            clock=self.clock,
            fan_out=PlainFanOut(),
            commit_wakeup=self,
            backfill_wakeup=self,
            observers=Observers(self.observer),
            limits=limits,
            ingest_bytes=bound,
            store_patience=patience_s,
            ping_interval=30.0,
            stalled_timeout=120.0,
        )
        self.hub, self.ingest, self.router = self.core.hub, self.core.ingest, self.core.router
        self.publisher: Any = self.core.publisher
        self.committer: Any = self.core.committer
        self._count = 0

    def wake(self) -> None:
        """Count a wake-up of the commit loop: the port `Wakeup`."""
        self.wakes += 1

    def running_command(self) -> type | None:
        """Return the command that is executed, None while it waits, and between commands."""
        return self.running[-1] if self.running else None

    def note_wait(self) -> None:
        """Note that the command which is executed waits; its row in the router's table must say so."""
        command = self.running_command()
        if command is not None and command is not Fault:
            self.waited.add(command)
            assert TABLE[command].may_wait, f"{command.__name__} may not wait"

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
            self.running.append(None)
            self.hub.backfill.step()
            self.running.pop()
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
        assert {session.identity.key for session in hub.sessions.values()} <= set(hub.directory)
        assert set(hub.identities) == {session.identity.id for session in hub.sessions.values()}
        for session in hub.sessions.values():
            assert session.state is SessionState.ACTIVE
            assert session.pending == 0
            identity = session.identity
            assert hub.directory[identity.key] is identity
            assert session in identity.sessions
            opened = [one for one in hub.conversations.by_pair.values() if one.opener is identity]
            assert identity.opened_count == len(opened)
            for key, membership in session.memberships.items():
                assert membership.room.key == key
                assert membership.room.members[session] is membership
            for pair in identity.conversations or ():
                assert hub.conversations.by_pair[pair].pair == pair
            refs = session.refs or {}
            assert len(refs) <= 1024
            assert not any(isinstance(entry, QueuedMessage) for entry in refs.values())
            self._check_memberships(session)
        for room in hub.rooms.values():
            assert room.members or room.id
        for pair, conversation in hub.conversations.by_pair.items():
            room = conversation.room
            assert any(identity in hub.identities for identity in pair)  # one may still read
            assert (conversation.opener is None) == (not room.members)
            assert conversation.is_open == bool(room.members)
            sides = [one for one in hub.conversations.sides(room) if one is not None]
            assert not room.members or {*room.members} == {one for side in sides for one in side.sessions}
            assert room.user_count == (2 if room.members else 0)
            assert not room.members or hub.conversations.by_name[room.key] is conversation
        for key, conversation in hub.conversations.by_name.items():
            assert conversation.room.key == key
            assert hub.conversations.by_pair[conversation.pair] is conversation
        for room in (*hub.rooms.values(), *(one.room for one in hub.conversations.by_pair.values())):
            assert room.head == (self.store._heads[room.id] if room.id else room.trimmed)
            assert not room.is_queued
            assert sum(len(feed.sessions) for feed in room._feeds.values()) == len(room.members)

    @staticmethod
    def _check_memberships(session: Session) -> None:
        """Check that states and cursors of a connected session fit, and that each cursor is served."""
        ending = list((session.ending or {}).values())
        for membership in session.memberships.values():
            assert membership.state in {MembershipState.LIVE, MembershipState.LAGGING}
            assert (membership.state is MembershipState.LIVE) == (membership.cursor is None)
        for membership in ending:
            assert membership.state in {MembershipState.ENDING, MembershipState.UNCONFIRMED}
            assert (membership.state is MembershipState.UNCONFIRMED) == (membership.cursor is None)
            assert session not in membership.room.members
        cursors = {
            membership: membership.cursor
            for membership in (*session.memberships.values(), *ending)
            if membership.cursor is not None
        }
        assert cursors == (session.lagging.memberships if session.lagging is not None else {})
