"""Events, server to client: one frozen Struct each, with the field names of the wire.

Times in `…_ms` are milliseconds, `timestamp` and `since` are seconds since the Unix epoch (UTC), `after` in
`Bye` and `retry_after` are seconds to wait. Optional fields are omitted from the wire at their default.
"""

from collections.abc import Sequence

from msgspec import Struct, field

from chat_protocol.errors import ByeReason, ErrorCode


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events; `ref` is that of the command which the event answers."""

    ref: str | None = None


class RoomState(Struct, frozen=True, omit_defaults=True):
    """A room in a list: last seq, number of members; `peer` (`with`) is the other side of a conversation."""

    room: str
    seq: int
    count: int
    peer: str | None = field(name="with", default=None)


class ServerIdentity(Struct, frozen=True):
    """The server program, its version, and its node name among several."""

    name: str
    version: str
    node: str


class Limits(Struct, frozen=True):
    """Limits of the server for a session; 0 means no limit. Rates are per second."""

    frame_bytes: int
    message_bytes: int
    rooms: int
    conversations: int
    messages_per_second: float
    message_burst: int
    bytes_per_second: float
    byte_burst: int


class Welcome(Event, tag="welcome", frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a valid `hello`, and the first event of a session or of its resumption.

    `ping_interval` is in seconds (0: no pings). `session` is the secret for a resume, if the session is
    resumable; `epoch` changes when seqs may have been issued twice. If the list of rooms is too long for one
    frame, `more` is set and `after` is the last room in it.
    """

    protocol: int
    id: str
    username: str
    resumed: bool
    epoch: str
    server: ServerIdentity
    rooms: Sequence[RoomState]
    limits: Limits
    ping_interval: float
    session: str | None = None
    more: bool = False
    after: str | None = None


class MessageEvent(Event, tag="message", frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One message of a room, as every member receives it; `again` marks an acknowledgement that is repeated.

    `gc=False`: it holds no containers, so it cannot be part of a cycle. Rooms keep tens of thousands of them,
    and a collection that traversed them all would stop the server for tens of milliseconds.
    """

    room: str
    seq: int
    sender: str = field(name="from")
    username: str
    message: str
    timestamp: float
    origin: str
    again: bool = False


class Joined(Event, tag="joined", frozen=True, kw_only=True, omit_defaults=True):
    """The room has been joined; its next message is `seq + 1`, `count` is the number of members."""

    room: str
    seq: int
    count: int


class Left(Event, tag="left", frozen=True, kw_only=True, omit_defaults=True):
    """The room has been left."""

    room: str


class Opened(Event, tag="opened", frozen=True, kw_only=True, omit_defaults=True):
    """The conversation with `peer` is open (opened by `by`); its next message is `seq + 1`."""

    room: str
    peer: str = field(name="with")
    by: str
    seq: int


class Closed(Event, tag="closed", frozen=True, kw_only=True, omit_defaults=True):
    """The conversation with `peer` has been closed by `by`; its history is kept."""

    room: str
    peer: str = field(name="with")
    by: str


class RoomList(Event, tag="rooms", frozen=True, kw_only=True, omit_defaults=True):
    """A page of the public rooms, by name; if `more` is set, the next page begins `after` the last one."""

    rooms: Sequence[RoomState]
    more: bool
    after: str | None = None


class User(Struct, frozen=True, omit_defaults=True):
    """A connected user: last RTT in ms (None: not measured yet), and the messages it lags behind.

    `since`: when it connected, in seconds since the epoch.
    """

    username: str
    rtt_ms: float | None
    since: float
    behind: int = 0


class UserList(Event, tag="who", frozen=True, kw_only=True, omit_defaults=True):
    """A page of the users, by name; if `more` is set, the next page begins `after` the last one."""

    users: Sequence[User]
    more: bool
    room: str | None = None
    after: str | None = None


class ServerState(Struct, frozen=True):
    """One server: its address, number of clients, and median RTT to them in ms (None: not measured)."""

    node: str
    address: str
    clients: int
    rtt_ms: float | None


class ServerList(Event, tag="servers", frozen=True, kw_only=True, omit_defaults=True):
    """The servers of the cluster."""

    servers: Sequence[ServerState]


class HistoryPage(Event, tag="history", frozen=True, kw_only=True, omit_defaults=True):
    """A page of a room's messages, ascending.

    If `more` is set, the next page in the same direction begins at the `after` or `before` given here.
    """

    room: str
    messages: Sequence[MessageEvent]
    more: bool
    after: int | None = None
    before: int | None = None


class RttReport(Event, tag="rtt", frozen=True, kw_only=True):
    """Round-trip times of a user in ms, by pings and from the kernel (`tcp_ms`); None: not measured."""

    username: str
    last_ms: float | None
    min_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    samples: int
    tcp_ms: float | None


class PingEvent(Event, tag="ping", frozen=True, kw_only=True, omit_defaults=True):
    """A ping from the server, to be answered with a `pong` of the same `id`."""

    id: str


class PongEvent(Event, tag="pong", frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a client's `ping`, with the server's time."""

    id: str | int | None
    timestamp: float


class Renamed(Event, tag="renamed", frozen=True, kw_only=True, omit_defaults=True):
    """A user has changed names, from `old` to `username`."""

    sender: str = field(name="from")
    old: str
    username: str


class Presence(Event, tag="presence", frozen=True, kw_only=True, omit_defaults=True):
    """Users that joined and left a room since the last such event; in large rooms the count only."""

    room: str
    count: int
    joined: Sequence[str] | None = None
    left: Sequence[str] | None = None


class Error(Event, tag="error", frozen=True, kw_only=True, omit_defaults=True):
    """A command was rejected, or the server failed; `message` is a sentence for people.

    `retry_after`: seconds after which the command can succeed, None if waiting does not help.
    """

    code: ErrorCode
    message: str
    retry_after: float | None = None


class Gap(Event, tag="gap", frozen=True, kw_only=True, omit_defaults=True):
    """The messages with these seqs, both included, have been deleted and are not available."""

    room: str
    first: int
    last: int


class Bye(Event, tag="bye", frozen=True, kw_only=True, omit_defaults=True):
    """The last event of a connection, and why the server ends it.

    `after`: seconds until the client may return.
    """

    reason: ByeReason
    message: str | None = None
    after: float | None = None


WireEvent = (
    Welcome
    | MessageEvent
    | Joined
    | Left
    | Opened
    | Closed
    | RoomList
    | UserList
    | ServerList
    | HistoryPage
    | RttReport
    | PingEvent
    | PongEvent
    | Renamed
    | Presence
    | Error
    | Gap
    | Bye
)


class Notice(Event, tag="notice", frozen=True, kw_only=True, omit_defaults=True):
    """Plain text only: lines from the server, such as the answer to /help."""

    text: str
