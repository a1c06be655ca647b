"""Commands, client to server: one frozen Struct each, with the field names of the wire.

The tagged union `WireCommand` holds all commands of NDJSON. The four classes after it have no wire type: the
codecs of the other dialects make them.
"""

import typing
from typing import Annotated, Final

from msgspec import Meta, Struct, field

MAX_REF_CHARS: Final = 64
"""Code points in a `ref`."""

Ref = Annotated[str, Meta(min_length=1, max_length=MAX_REF_CHARS)]
PingId = Annotated[str, Meta(max_length=MAX_REF_CHARS)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Seq = Annotated[int, Meta(ge=0, le=2**62)]


class Command(Struct, frozen=True, kw_only=True, gc=False):
    """Base of all commands; `ref` is the client's own id, repeated in each direct answer."""

    ref: Ref | None = None


class Resume(Struct, frozen=True):
    """Position of a client that reconnects: session secret, epoch, and last seq received in each room."""

    session: str
    epoch: str = ""
    rooms: dict[str, Seq] = {}


class Hello(Command, tag="hello", frozen=True, kw_only=True):
    """Open a session under a name, or resume one."""

    username: str
    rooms: list[str] | None = None
    resumable: bool = False
    resume: Resume | None = None
    client: Annotated[str, Meta(max_length=100)] | None = None


class Message(Command, tag="message", frozen=True, kw_only=True, gc=False):
    """Send a message to a room (default: the lobby), or `to` one user."""

    message: str
    room: str | None = None
    to: str | None = None


class Join(Command, tag="join", frozen=True, kw_only=True, gc=False):
    """Join a public room."""

    room: str


class Leave(Command, tag="leave", frozen=True, kw_only=True, gc=False):
    """Leave a public room."""

    room: str


class Open(Command, tag="open", frozen=True, kw_only=True, gc=False):
    """Open a conversation with a user."""

    peer: str = field(name="with")


class Close(Command, tag="close", frozen=True, kw_only=True, gc=False):
    """Close the conversation with a user; its history is kept."""

    peer: str = field(name="with")


class Rooms(Command, tag="rooms", frozen=True, kw_only=True, gc=False):
    """List the public rooms, from the one after a name on."""

    after: str | None = None


class Who(Command, tag="who", frozen=True, kw_only=True, gc=False):
    """List the users of a room, or all, from the one after a name on."""

    room: str | None = None
    after: str | None = None


class Servers(Command, tag="servers", frozen=True, kw_only=True, gc=False):
    """List the servers."""


class History(Command, tag="history", frozen=True, kw_only=True, gc=False):
    """Read a room's messages before or after a seq; the newest if neither is given."""

    room: str
    before: Seq | None = None
    after: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class Rtt(Command, tag="rtt", frozen=True, kw_only=True, gc=False):
    """Request a user's round-trip times; default: those of the sender."""

    username: str | None = None


class Ping(Command, tag="ping", frozen=True, kw_only=True, gc=False):
    """Request a `pong`."""

    id: PingId | None = None


class Pong(Command, tag="pong", frozen=True, kw_only=True, gc=False):
    """Answer a ping of the server; `id` is that of the ping."""

    id: PingId


class Rename(Command, tag="rename", frozen=True, kw_only=True, gc=False):
    """Change the name of the session."""

    username: str


class Quit(Command, tag="quit", frozen=True, kw_only=True, gc=False):
    """End the session; it cannot be resumed."""

    reason: Annotated[str, Meta(max_length=1000)] | None = None


WireCommand = (
    Hello
    | Message
    | Join
    | Leave
    | Open
    | Close
    | Rooms
    | Who
    | Servers
    | History
    | Rtt
    | Ping
    | Pong
    | Rename
    | Quit
)
WIRE_TYPES: Final[frozenset[str]] = frozenset(
    str(kind.__struct_config__.tag) for kind in typing.get_args(WireCommand)
)
"""Every `type` that a client may send."""


class Arrive(Command, frozen=True, kw_only=True, gc=False):
    """Plain text: enter the lobby under a guest name and receive its last messages."""


class Switch(Command, frozen=True, kw_only=True, gc=False):
    """Plain text: leave the current room and join another."""

    room: str


class Help(Command, frozen=True, kw_only=True, gc=False):
    """Plain text: list the commands."""


class Say(Command, frozen=True, kw_only=True, gc=False):
    """Two-field JSON: take the name if the session has another, then send the message.

    It goes to the lobby, to a room, which is entered first, or `to` one user.
    """

    username: str
    message: str
    room: str | None = None
    to: str | None = None


AnyCommand = WireCommand | Arrive | Switch | Help | Say
