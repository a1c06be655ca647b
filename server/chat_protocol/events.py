"""What goes out: one frozen Struct an event, by the names of the wire.

Times in `…_ms` are milliseconds, `timestamp` and `since` are seconds since the Unix epoch (UTC), `after` in
`Bye` and `retry_after` are seconds to wait. Optional fields stay off the wire when they have nothing to say.
"""

from collections.abc import Sequence

from msgspec import Struct, field

from chat_protocol.errors import ByeReason, ErrorCode


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every event may carry: the `ref` of the command that it answers."""

    ref: str | None = None


class RoomState(Struct, frozen=True, omit_defaults=True):
    """A room in a list: its last seq, its members; `with` names the other side of a conversation."""

    room: str
    seq: int
    count: int
    peer: str | None = field(name="with", default=None)


class ServerIdentity(Struct, frozen=True):
    """Which program, and which of several, answers."""

    name: str
    version: str
    node: str


class Limits(Struct, frozen=True):
    """What the server accepts; 0 means no limit. Rates are per second and session."""

    frame_bytes: int
    message_bytes: int
    rooms: int
    conversations: int
    messages_per_second: float
    message_burst: int
    bytes_per_second: float
    byte_burst: int


class Welcome(Event, tag="welcome", frozen=True, kw_only=True, omit_defaults=True):
    """The first frame after a good `hello`."""

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
    """One message of a room, as every member gets it.

    It holds no containers, so it can be in no cycle. Rooms keep many: were the garbage collector told of
    them, it would look at tens of thousands at once, and all would wait for as many milliseconds.
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
    """The room is entered; the next message in it is `seq + 1`."""

    room: str
    seq: int
    count: int


class Left(Event, tag="left", frozen=True, kw_only=True, omit_defaults=True):
    """The room is left."""

    room: str


class Opened(Event, tag="opened", frozen=True, kw_only=True, omit_defaults=True):
    """The conversation is open; the next message in it is `seq + 1`."""

    room: str
    peer: str = field(name="with")
    by: str
    seq: int


class Closed(Event, tag="closed", frozen=True, kw_only=True, omit_defaults=True):
    """The conversation is closed, its history kept."""

    room: str
    peer: str = field(name="with")
    by: str


class RoomList(Event, tag="rooms", frozen=True, kw_only=True, omit_defaults=True):
    """Public rooms by name; ask again `after` the last one while there are `more`."""

    rooms: Sequence[RoomState]
    more: bool
    after: str | None = None


class User(Struct, frozen=True, omit_defaults=True):
    """A connected user: last round trip in ms (None: not measured yet), connected since, messages behind."""

    username: str
    rtt_ms: float | None
    since: float
    behind: int = 0


class UserList(Event, tag="who", frozen=True, kw_only=True, omit_defaults=True):
    """Users by name; ask again `after` the last one while there are `more`."""

    users: Sequence[User]
    more: bool
    room: str | None = None
    after: str | None = None


class ServerState(Struct, frozen=True):
    """One server: its address, clients, and median round trip to its clients in ms (None: not measured)."""

    node: str
    address: str
    clients: int
    rtt_ms: float | None


class ServerList(Event, tag="servers", frozen=True, kw_only=True, omit_defaults=True):
    """All servers."""

    servers: Sequence[ServerState]


class HistoryPage(Event, tag="history", frozen=True, kw_only=True, omit_defaults=True):
    """Messages of a room, ascending; `more` are to be had in the direction that was asked.

    To go on: ask `after` or `before` the value given here.
    """

    room: str
    messages: Sequence[MessageEvent]
    more: bool
    after: int | None = None
    before: int | None = None


class RttReport(Event, tag="rtt", frozen=True, kw_only=True):
    """Round-trip times of a user in ms, by ping and by the kernel (`tcp_ms`); None: not measured."""

    username: str
    last_ms: float | None
    min_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    samples: int
    tcp_ms: float | None


class PingEvent(Event, tag="ping", frozen=True, kw_only=True, omit_defaults=True):
    """The server asks for a `pong`."""

    id: str


class PongEvent(Event, tag="pong", frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a client's `ping`."""

    id: str | int | None
    timestamp: float


class Renamed(Event, tag="renamed", frozen=True, kw_only=True, omit_defaults=True):
    """A user has another name."""

    sender: str = field(name="from")
    old: str
    username: str


class Presence(Event, tag="presence", frozen=True, kw_only=True, omit_defaults=True):
    """Who came and went since the last one; in large rooms only the count."""

    room: str
    count: int
    joined: Sequence[str] | None = None
    left: Sequence[str] | None = None


class Error(Event, tag="error", frozen=True, kw_only=True, omit_defaults=True):
    """A command that was not carried out, and why."""

    code: ErrorCode
    message: str
    retry_after: float | None = None


class Gap(Event, tag="gap", frozen=True, kw_only=True, omit_defaults=True):
    """These seqs can no longer be had."""

    room: str
    first: int
    last: int


class Bye(Event, tag="bye", frozen=True, kw_only=True, omit_defaults=True):
    """The last frame."""

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
    """Plain text only: a sentence from the server, as the answer to /help."""

    text: str
