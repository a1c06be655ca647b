"""A session: one client of an identity, over all its connections.

`link` and `outbox` are those of its current connection. MUST NOT switch greenlets.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias

from chat_protocol import LOBBY
from chat_protocol.dialects.ndjson import NDJSON
from chat_server.core.identity.identity import NOBODY, Identity
from chat_server.core.ports.log import Origin, StoredAt
from chat_server.core.ports.registry import SessionRecord
from chat_server.core.sessions.lifecycle import SESSION_TRANSITIONS, SessionEvent, SessionState
from chat_server.core.sessions.membership import Membership, MembershipEvent, MembershipState, RoomT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chat_protocol.events import Event
    from chat_server.core.base.rate_limit import Allowance
    from chat_server.core.base.rtt_samples import RttSamples
    from chat_server.core.ports.link import Link, Outbox, Signal
    from chat_server.core.sessions.lagging import Lagging

REFS_KEPT: Final = 1024
"""Refs of a session's last messages that are kept, to recognise repeated ones (docs/protocol.md)."""

HELD_REFS_KEPT: Final = 16
"""Refs up to which a held session keeps them in memory: people say little before a cut, and their resume does
not have to wait for the disk."""

# Members of an enum are looked up by a Python function (in Python 3.11), so often used ones are bound here.
_UNNAMED, _CLOSED = SessionState.UNNAMED, SessionState.CLOSED
_HELD, _EXPIRING = SessionState.HELD, SessionState.EXPIRING
_CLIENT: Final = Origin.CLIENT

_numbers: Final = itertools.count(1)  # of connections and openings, in their order


class PendingMessage:
    """A message of the session that is not stored yet (delivery/batch.py)."""

    __slots__ = ()

    def note_repeat(self) -> None:
        """Note that it was sent again meanwhile."""
        raise NotImplementedError


class Resumption:
    """What a resumable session has besides: its stored row, and the claims of connections that resume it."""

    __slots__ = ("disconnect_signals", "newest_claim", "record", "refs_to_load", "welcome_end")

    def __init__(self, record: SessionRecord) -> None:
        self.record = record
        self.welcome_end = 0  # bytes written up to the end of its first `welcome`
        self.refs_to_load = False  # its refs are to be read from the store first
        self.newest_claim = 0  # `number` of the newest connection that wants to resume it
        self.disconnect_signals: list[Signal] | None = None  # of resumes that wait for its disconnect


class BaseSession(Generic[RoomT]):
    """One client. Generic in the room, which this module need not know: see `Session` in delivery/room.py.

    `now` and `read_at` are in monotonic seconds, `connected_at` in seconds since the epoch.
    """

    __slots__ = (
        "allowance",
        "bytes_out",
        "connected_at",
        "default_room",
        "encoding",
        "ending",
        "id",
        "identity",
        "lagging",
        "link",
        "memberships",
        "messages_in",
        "messages_out",
        "missed_pings",
        "number",
        "origin",
        "outbox",
        "pending",
        "ping_id",
        "ping_sent_at",
        "read_at",
        "refs",
        "refusals",
        "resumption",
        "rtt",
        "state",
    )

    def __init__(self, link: Link[BaseSession[RoomT]], outbox: Outbox, now: float) -> None:
        self.number = next(_numbers)
        self.link = link
        self.outbox = outbox
        self.encoding = NDJSON
        self.origin = _CLIENT
        self.state = _UNNAMED
        self.id = ""  # the public id, once it has a name
        self.identity: Identity[BaseSession[RoomT]] = NOBODY
        self.resumption: Resumption | None = None  # if it is resumable
        self.connected_at = 0.0
        self.memberships: dict[str, Membership[RoomT]] = {}  # of rooms that it is a member of, by their keys
        self.ending: dict[RoomT, Membership[RoomT]] | None = None  # see membership.py
        self.lagging: Lagging[RoomT] | None = None  # memberships that have a cursor
        self.default_room = LOBBY
        self.refs: dict[int, PendingMessage | StoredAt] | None = None  # of its last messages, by `ref_key`
        self.pending = 0
        self.allowance: Allowance | None = None
        self.refusals = 0  # in a row
        self.read_at = now
        self.messages_in = 0
        self.messages_out = 0  # of rooms already left; joined rooms count their own
        self.bytes_out = 0
        self.rtt: RttSamples | None = None
        self.ping_id = ""
        self.ping_sent_at = 0.0
        self.missed_pings = 0

    def __repr__(self) -> str:
        lagging = "" if self.lagging is None else f" lagging in {len(self.lagging.memberships)}"
        return (
            f"<Session {self.name or '-'} {self.id or '-'} {self.state.name.lower()}{lagging}, "
            f"{len(self.memberships)} rooms>"
        )

    @property
    def name(self) -> str:
        """The name of its identity, empty before it has one."""
        return self.identity.name

    @property
    def closed(self) -> bool:
        """Whether it has been removed for good."""
        return self.state is _CLOSED

    @property
    def held(self) -> bool:
        """Whether it has no connection: it can be resumed, or is about to be closed."""
        return self.state is _HELD or self.state is _EXPIRING

    @property
    def record(self) -> SessionRecord | None:
        """The stored row, None if the session is not resumable."""
        return None if self.resumption is None else self.resumption.record

    def apply(self, event: SessionEvent) -> None:
        """Change the state, or raise `InvalidTransition`."""
        self.state = SESSION_TRANSITIONS.next_state(self.state, event)

    def send(self, event: Event) -> None:
        """Send an event to this session; dropped while it is held."""
        self.outbox.put(self.encoding.encode(event))

    def send_if_open(self, event: Event) -> None:
        """Send an event, unless the session is closed."""
        if self.state is not _CLOSED:
            self.send(event)

    def remember_ref(self, key: int, entry: PendingMessage | StoredAt) -> None:
        """Keep the key of a ref, to recognise the same message when it is sent again."""
        if self.refs is None:
            self.refs = {}
        self.refs[key] = entry
        if len(self.refs) > REFS_KEPT:
            del self.refs[next(iter(self.refs))]

    def forget_ref(self, key: int) -> None:
        """Drop a ref whose message was not stored."""
        if self.refs is not None:
            self.refs.pop(key, None)

    def unload_refs(self) -> None:
        """Drop the refs of a held session if they are many: they are read from the store if it is resumed.

        Not those of messages that are not stored yet: the store does not know them.
        """
        if self.resumption is None or self.refs is None or len(self.refs) <= HELD_REFS_KEPT:
            return
        if not self.pending:
            self.refs = None
            self.resumption.refs_to_load = True

    def keep_ending(self, membership: Membership[RoomT]) -> None:
        """Keep a membership of a closed conversation, until its client knows that it is closed."""
        if self.ending is None:
            self.ending = {}
        self.ending[membership.room] = membership

    def drop_ending(self, room: RoomT) -> Membership[RoomT] | None:
        """Return the membership of a closed conversation that was still kept, if there is one; drop it."""
        if self.ending is None:
            return None
        membership = self.ending.pop(room, None)
        if not self.ending:
            self.ending = None
        return membership

    def note_opening(self, membership: Membership[RoomT], since: int) -> None:
        """Note that `opened` of a conversation, at seq `since`, was sent and may not have arrived."""
        self.note_openings([(membership, since)])

    def note_openings(self, openings: Iterable[tuple[Membership[RoomT], int]]) -> None:
        """Note that `opened` of conversations, at seqs, was sent and is not acknowledged by TCP yet.

        If the connection is lost before the bytes arrive, the client does not know the room and cannot resume
        it. So until then the opening counts as unconfirmed.
        """
        if self.resumption is None:
            return
        if self.ending is not None:
            acked = self.link.bytes_acked()
            for each in list(self.ending.values()):
                if each.state is MembershipState.UNCONFIRMED and each.unconfirmed_since(acked) is None:
                    self.drop_ending(each.room)
                    each.apply(MembershipEvent.LEAVE)
        written = self.link.bytes_written()
        for membership, since in openings:
            if self.unconfirmed_since(membership) is None:
                membership.opening = (since, written, next(_numbers))

    def unconfirmed_since(self, membership: Membership[RoomT]) -> int | None:
        """Return the seq of an opening that the client may not have received, None if there is none."""
        if membership.opening is None:
            return None
        return membership.unconfirmed_since(self.link.bytes_acked())

    def rtt_ms(self) -> float | None:
        """Return the last round trip in ms: of a ping if there was one, else the kernel's."""
        return self.rtt.last_ms if self.rtt is not None else self.link.tcp_rtt_ms()


AnySession: TypeAlias = BaseSession[Any]
"""For modules to which the rooms of a session do not matter."""
