"""A session: one user under one name, over all its connections.

`link` and `outbox` are those of its current connection. MUST NOT switch greenlets.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from chat_protocol import LOBBY
from chat_protocol.dialects.ndjson import NDJSON
from chat_protocol.events import Event
from chat_server.core.base.rtt_samples import RttSamples
from chat_server.core.ports.log import Origin, StoredAt
from chat_server.core.ports.registry import SessionRecord

if TYPE_CHECKING:
    from chat_server.core.base.rate_limit import Allowance
    from chat_server.core.delivery.batch import QueuedMessage
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.link import Link, Outbox, Signal
    from chat_server.core.sessions.cursor import LaggingRooms

REFS_KEPT: Final = 1024
"""Refs of a session's last messages that are kept, to recognise repeated ones (docs/protocol.md)."""


_numbers: Final = itertools.count(1)  # connections in the order of their arrival


class Session:
    """One user. Has no name until `hello` succeeds; `closed` once the hub has removed it.

    `now` and `read_at` are in monotonic seconds, `connected_at` in seconds since the epoch.
    """

    __slots__ = (
        "allowance",
        "bytes_out",
        "closed",
        "connected_at",
        "conversations",
        "default_room",
        "disconnect_signals",
        "encoding",
        "for_good",
        "held",
        "id",
        "identity",
        "identity_stored",
        "key",
        "lagging",
        "link",
        "messages_in",
        "messages_out",
        "missed_pings",
        "name",
        "newest_claim",
        "number",
        "opened_count",
        "origin",
        "outbox",
        "paused",
        "pending",
        "ping_id",
        "ping_sent_at",
        "read_at",
        "record",
        "refs",
        "refs_to_load",
        "refusals",
        "rooms",
        "rtt",
        "unconfirmed",
        "welcome_end",
    )

    def __init__(self, link: Link, outbox: Outbox, now: float) -> None:
        self.number = next(_numbers)
        self.newest_claim = 0  # `number` of the newest connection that wants to resume it
        self.link = link
        self.outbox = outbox
        self.encoding = NDJSON
        self.origin = Origin.CLIENT
        self.id = ""
        self.name = ""
        self.key = ""
        self.identity = 0
        self.identity_stored = False
        self.record: SessionRecord | None = None  # the stored row, if it is resumable
        self.connected_at = 0.0
        self.closed = False
        self.for_good = False  # it has quit or was disconnected by the server: it cannot be resumed
        self.held = False  # without a connection, but resumable until its hold time is over
        self.disconnect_signals: list[Signal] | None = None  # of resumes that wait for its disconnect
        self.lagging: LaggingRooms | None = None  # cursors of rooms that it has no live feed of
        self.rooms: dict[str, Room] = {}
        self.opened_count = 0  # open conversations that this session opened
        self.conversations: dict[Room, None] = {}  # open or closed
        self.unconfirmed: dict[Room, tuple[int, int]] | None = None  # see `note_unconfirmed`
        self.welcome_end = 0  # bytes written up to the end of its first `welcome`
        self.default_room = LOBBY
        self.refs: dict[str, QueuedMessage | StoredAt] | None = None  # of its last messages, queued or stored
        self.refs_to_load = False  # they are to be read from the store first
        self.paused = False  # the server does not read from the connection
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
        state = "closed" if self.closed else "held" if self.held else "active" if self.id else "unnamed"
        lagging = "" if self.lagging is None else f" lagging in {len(self.lagging.cursors)}"
        return f"<Session {self.name or '-'} {self.id or '-'} {state}{lagging}, {len(self.rooms)} rooms>"

    def send(self, event: Event) -> None:
        """Send an event to this session; dropped while it is held."""
        self.outbox.put(self.encoding.encode(event))

    def send_if_open(self, event: Event) -> None:
        """Send an event, unless the session is closed."""
        if not self.closed:
            self.send(event)

    def remember_ref(self, ref: str, entry: QueuedMessage | StoredAt) -> None:
        """Keep `ref`, to recognise the same message when it is sent again."""
        if self.refs is None:
            self.refs = {}
        self.refs[ref] = entry
        if len(self.refs) > REFS_KEPT:
            del self.refs[next(iter(self.refs))]

    def forget_ref(self, ref: str) -> None:
        """Drop a ref whose message was not stored."""
        if self.refs is not None:
            self.refs.pop(ref, None)

    def note_unconfirmed(self, room: Room, since: int) -> None:
        """Note that `opened` of a conversation, at seq `since`, was sent and is not acknowledged by TCP yet.

        If the connection is lost before the bytes arrive, the client does not know the room and cannot resume
        it. So until then the opening counts as unconfirmed.
        """
        if self.record is None:
            return
        unconfirmed = self.unconfirmed_openings()
        unconfirmed.setdefault(room, (since, self.link.bytes_written()))
        self.unconfirmed = unconfirmed

    def unconfirmed_openings(self) -> dict[Room, tuple[int, int]]:
        """Return the openings that the client may not have received: (opened at seq, stream position)."""
        if not self.unconfirmed:
            return {}
        acked = self.link.bytes_acked()
        return {room: opening for room, opening in self.unconfirmed.items() if opening[1] > acked}

    def rtt_ms(self) -> float | None:
        """Return the last round trip in ms: of a ping if there was one, else the kernel's."""
        return self.rtt.last_ms if self.rtt is not None else self.link.tcp_rtt_ms()

    def delivered(self) -> tuple[int, int]:
        """Return the messages that rooms have delivered to this session, and their bytes."""
        messages, size = self.messages_out, self.bytes_out
        for room in self.rooms.values():
            more, bytes_more = room.delivered_to(self)
            messages += more
            size += bytes_more
        return messages, size
