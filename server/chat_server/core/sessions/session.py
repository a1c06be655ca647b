"""A session: one peer under one name, over all its connections.

Knows its rooms, its refs and what is still on its way. `link` and `outbox` are those of the present
connection. Must not know sockets. MUST NOT switch greenlets.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from chat_protocol import LOBBY
from chat_protocol.dialects.base import NDJSON
from chat_protocol.dialects.table import ENCODERS
from chat_protocol.events import Event
from chat_server.core.base.rtt_samples import RttSamples
from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.ports.records import Origin, SessionRecord

if TYPE_CHECKING:
    from chat_server.core.base.rate_limit import Allowance
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.link import Link, Outbox, Signal
    from chat_server.core.sessions.cursor import LaggingRooms

REFS_KEPT: Final = 1024
"""A session's last refs, by which a repeated message is known (docs/protocol.md)."""


_numbers: Final = itertools.count(1)  # connections in the order in which they came


class Session:
    """One peer. Unnamed until its hello was good; `closed` once it is out of the hub."""

    __slots__ = (
        "allowance",
        "bytes_out",
        "closed",
        "connected_at",
        "conversations",
        "default_room",
        "dialect",
        "disconnect_signals",
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
        self.newest_claim = 0  # the newest connection that wants to go on with it, by its `number`
        self.link = link
        self.outbox = outbox
        self.dialect = NDJSON
        self.origin = Origin.CLIENT
        self.id = ""
        self.name = ""
        self.key = ""
        self.identity = 0
        self.identity_stored = False
        self.record: SessionRecord | None = None  # of one that may be resumed, as the store has it
        self.connected_at = 0.0
        self.closed = False
        self.for_good = False  # it has said good-bye, or was sent away: it does not come back
        self.held = False  # cut, and its name held until it comes back or its time is up
        self.disconnect_signals: list[Signal] | None = (
            None  # who waits to take over from the present connection
        )
        self.lagging: LaggingRooms | None = None  # rooms whose live feed it does not get
        self.rooms: dict[str, Room] = {}
        self.opened_count = 0  # open ones that this session opened
        self.conversations: dict[Room, None] = {}  # conversations, open or closed
        self.unconfirmed: dict[Room, tuple[int, int]] | None = None  # see `told_of`
        self.welcome_end = 0  # length of the stream up to the end of its first welcome
        self.default_room = LOBBY
        self.refs: dict[str, QueuedMessage | int] | None = None  # ref -> on its way, or its row in the log
        self.refs_to_load = False  # they are still to be read from the store
        self.paused = False  # the server is not reading from it
        self.pending = 0
        self.allowance: Allowance | None = None
        self.refusals = 0  # in a row
        self.read_at = now
        self.messages_in = 0
        self.messages_out = 0  # of rooms already left; rooms joined still count their own
        self.bytes_out = 0
        self.rtt: RttSamples | None = None
        self.ping_id = ""
        self.ping_sent_at = 0.0
        self.missed_pings = 0

    def send(self, event: Event) -> None:
        """Send an event to this session alone; while it is away there is nobody to send it to."""
        self.outbox.put(ENCODERS[self.dialect].encode(event))

    def send_if_open(self, event: Event) -> None:
        """Send an event, unless the session is over by now."""
        if not self.closed:
            self.send(event)

    def remember_ref(self, ref: str, entry: QueuedMessage | int) -> None:
        """Keep `ref` so that the same message is known when it comes again."""
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
        """Note that the client was told that a conversation was opened at seq `since`.

        If the connection is cut before the bytes of that have arrived, the client cannot ask for what it has
        missed there: it knows nothing of the room. So until then it counts as unheard of.
        """
        if self.record is None:
            return
        unconfirmed = self.unconfirmed_openings()
        unconfirmed.setdefault(room, (since, self.link.bytes_written()))
        self.unconfirmed = unconfirmed

    def unconfirmed_openings(self) -> dict[Room, tuple[int, int]]:
        """Return the conversations of whose opening the client has not heard by now: (since, position)."""
        if not self.unconfirmed:
            return {}
        acked = self.link.bytes_acked()
        return {room: opening for room, opening in self.unconfirmed.items() if opening[1] > acked}

    def rtt_ms(self) -> float | None:
        """Return the last round trip in ms: by ping if there was one, else the kernel's."""
        return self.rtt.last_ms if self.rtt is not None else self.link.tcp_rtt_ms()

    def delivered(self) -> tuple[int, int]:
        """Return the messages that rooms delivered to this session, and their bytes."""
        messages, size = self.messages_out, self.bytes_out
        for room in self.rooms.values():
            more, bytes_more = room.delivered_to(self)
            messages += more
            size += bytes_more
        return messages, size
