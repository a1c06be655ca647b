"""One conversation of two identities, and its states as a transition table. MUST NOT switch greenlets."""

from enum import IntEnum
from typing import Final

from chat_server.core.base.transitions import TransitionTable
from chat_server.core.delivery.room import Room, User
from chat_server.core.ports.registry import StoredConversation


class ConversationState(IntEnum):
    """Whether the two users are in it."""

    CLOSED = 0
    """No members. Its messages can be read, and a new one opens it again."""
    OPENING = 1
    """No members yet: its opening is queued, and is about to be stored."""
    OPEN = 2
    """Both are members, and it counts for its opener."""
    CLOSING = 3
    """As `OPEN`, but its closing is queued, and is stored before the users get `closed`."""


class ConversationEvent(IntEnum):
    """What happens to a conversation."""

    QUEUE_OPENING = 0
    """A user opens it, or sends the first message."""
    OPENED = 1
    """The opening is stored."""
    FAIL = 2
    """The opening could not be stored, or a user has left for good meanwhile."""
    REOPEN = 3
    """A message was stored that had been queued before the conversation was closed."""
    SAVE_CLOSING = 4
    """A user closes it or leaves for good: the closing is queued."""
    CLOSE = 5
    """The closing is stored: its members are removed."""


_S, _E = ConversationState, ConversationEvent

CONVERSATION_TRANSITIONS: Final = TransitionTable[ConversationState, ConversationEvent](
    {
        _S.CLOSED: {
            _E.QUEUE_OPENING: _S.OPENING,
            _E.REOPEN: _S.OPEN,
            # An opening that was queued while a reopened conversation was closed again:
            _E.OPENED: _S.OPEN,
            _E.FAIL: _S.CLOSED,
        },
        _S.OPENING: {_E.OPENED: _S.OPEN, _E.REOPEN: _S.OPEN, _E.FAIL: _S.CLOSED},
        _S.OPEN: {
            _E.SAVE_CLOSING: _S.CLOSING,
            _E.CLOSE: _S.CLOSED,
            # An opening that was queued before the conversation was reopened:
            _E.OPENED: _S.OPEN,
            _E.FAIL: _S.OPEN,
        },
        _S.CLOSING: {
            _E.SAVE_CLOSING: _S.CLOSING,
            _E.CLOSE: _S.CLOSED,
            _E.OPENED: _S.CLOSING,
            _E.FAIL: _S.CLOSING,
        },
    }
)


class Conversation:
    """The conversation of two identities. Its room has the members, and the messages."""

    __slots__ = ("opened_seq", "opener", "room", "state")

    def __init__(self, room: Room) -> None:
        self.room = room
        self.state = ConversationState.CLOSED
        self.opener: User | None = None  # unless it is closed: the user that it counts for
        self.opened_seq = 0  # head when it was opened

    def __repr__(self) -> str:
        return f"<Conversation {self.room.name} {self.state.name}>"

    @property
    def pair(self) -> tuple[int, int]:
        """The ids of its identities, the lower one first."""
        assert self.room.pair is not None
        return self.room.pair

    @property
    def is_open(self) -> bool:
        """Whether its users are members."""
        return self.state is ConversationState.OPEN or self.state is ConversationState.CLOSING

    def apply(self, event: ConversationEvent) -> None:
        """Change the state, or raise `InvalidTransition`."""
        self.state = CONVERSATION_TRANSITIONS.next_state(self.state, event)


def is_stored_open(stored: StoredConversation, *, both_can_return: bool) -> bool:
    """Return whether a stored conversation is open after a start: its state follows from the row alone.

    It is closed if it was stored as closed, or if one of its users cannot return.
    """
    return stored.since is not None and stored.closed_by is None and both_can_return
