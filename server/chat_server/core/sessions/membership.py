"""A membership: one session in one room, from the first message that it is to get to the last.

Theory of operation. A live member gets each batch through the room's feed. Any other has a `Cursor`, and the
backfill (delivery/backfill.py) feeds it from the log, until it is live. In a conversation the membership also
outlasts the room's closing, as long as its client may not know of that: `closed` is still to be sent, or was
sent behind an `opened` that TCP has not acknowledged yet. Those are in `Session.ending` and not among the
room's members. A closed conversation whose client knows it has no membership.

MUST NOT switch greenlets.
"""

from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

from msgspec import Struct

from chat_server.core.base.transitions import TransitionTable
from chat_server.core.sessions.cursor import Cursor


class MembershipState(IntEnum):
    """The relation of a session to a room."""

    OUT = 0
    """Not a member, and nothing is owed to it."""
    LIVE = 1
    """A member in the room's feed."""
    LAGGING = 2
    """A member with a cursor, which is fed from the log."""
    ABSENT = 3
    """A member whose session is held; with a cursor if its client does not know the conversation yet."""
    ENDING = 4
    """No member any more; its cursor ends with `closed`."""
    UNCONFIRMED = 5
    """No member any more; `closed` was sent, and may be lost together with the `opened` before it."""


class MembershipEvent(IntEnum):
    """What happens to a membership."""

    JOIN = 0
    """The session joins and can follow at once."""
    JOIN_LAGGING = 1
    """The session joins with a cursor: it is resumed, its outbox is full, or it is owed earlier messages."""
    JOIN_ABSENT = 2
    """The conversation of a held session is opened."""
    OVERFLOW = 3
    """Its outbox did not take a batch."""
    CATCH_UP = 4
    """Its cursor has reached the head."""
    HOLD = 5
    """Its connection was lost."""
    RESUME = 6
    """A new connection has taken the session over."""
    OWE_CLOSED = 7
    """The conversation is closed, and `closed` has to wait for earlier messages or for a connection."""
    SEND_CLOSED = 8
    """`closed` was sent while the opening is unconfirmed."""
    LEAVE = 9
    """It ends: left, or closed and known to the client."""


_S, _E = MembershipState, MembershipEvent

MEMBERSHIP_TRANSITIONS: Final = TransitionTable[MembershipState, MembershipEvent](
    {
        _S.OUT: {
            _E.JOIN: _S.LIVE,
            _E.JOIN_LAGGING: _S.LAGGING,
            _E.JOIN_ABSENT: _S.ABSENT,
            _E.OWE_CLOSED: _S.ENDING,
        },
        _S.LIVE: {
            _E.OVERFLOW: _S.LAGGING,
            _E.HOLD: _S.ABSENT,
            _E.OWE_CLOSED: _S.ENDING,
            _E.SEND_CLOSED: _S.UNCONFIRMED,
            _E.LEAVE: _S.OUT,
        },
        _S.LAGGING: {
            _E.CATCH_UP: _S.LIVE,
            _E.HOLD: _S.ABSENT,
            _E.OWE_CLOSED: _S.ENDING,
            _E.SEND_CLOSED: _S.UNCONFIRMED,
            _E.LEAVE: _S.OUT,
        },
        _S.ABSENT: {_E.RESUME: _S.LAGGING, _E.OWE_CLOSED: _S.ENDING, _E.LEAVE: _S.OUT},
        _S.ENDING: {
            _E.JOIN_LAGGING: _S.LAGGING,
            _E.JOIN_ABSENT: _S.ABSENT,
            _E.HOLD: _S.ENDING,
            _E.RESUME: _S.ENDING,
            _E.SEND_CLOSED: _S.UNCONFIRMED,
            _E.LEAVE: _S.OUT,
        },
        _S.UNCONFIRMED: {
            _E.JOIN: _S.LIVE,
            _E.JOIN_LAGGING: _S.LAGGING,
            _E.HOLD: _S.ENDING,
            _E.LEAVE: _S.OUT,
        },
    }
)


class MemberRoom(Protocol):
    """What a membership knows of its room (core/delivery/room.py)."""

    @property
    def head(self) -> int:
        """The last seq delivered."""


RoomT = TypeVar("RoomT", bound=MemberRoom)

_OUT: Final = MembershipState.OUT


class Membership(Struct, Generic[RoomT], eq=False, gc=False):
    """One session in one room. The room's feed and the session hold it; it MUST be taken out of both.

    `gc=False`: the garbage collector does not look into it, which keeps thousands of idle members cheap. So
    the cycle session - membership - room - session is broken by hand: `Room.remove_member`.
    """

    room: RoomT
    state: MembershipState = MembershipState.OUT
    live_head: int = 0
    """Head of the room when it went live."""
    live_bytes: int = 0
    """Bytes that the room had sent to its feed by then."""
    cursor: Cursor | None = None
    opening: tuple[int, int, int] | None = None
    """Of an `opened` that was sent: the seq at which, bytes written to the peer by then, a running number."""

    def __repr__(self) -> str:
        at = "" if self.cursor is None else f" at {self.cursor.seq}"
        return f"<Membership {self.state.name}{at} in {self.room!r}>"

    @property
    def position(self) -> int:
        """The seq after which the session gets the next message."""
        return self.room.head if self.cursor is None else self.cursor.seq

    def apply(self, event: MembershipEvent) -> None:
        """Change the state, or raise `InvalidTransition`."""
        self.state = MEMBERSHIP_TRANSITIONS.next_state(self.state, event)
        if self.state is _OUT:
            self.opening = None  # its client knows the end

    def unconfirmed_since(self, acked_bytes: int) -> int | None:
        """Return the seq of an opening that the client may not have received, None if there is none.

        `acked_bytes`: of those written to the peer, how many its kernel has acknowledged.
        """
        if self.opening is None or self.opening[1] <= acked_bytes:
            return None
        return self.opening[0]
