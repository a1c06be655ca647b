"""The life of a session, as a transition table.

`PAUSED`, what is stored and what is not yet confirmed are facts of their own, and no states: see `Session`.
"""

from enum import IntEnum
from typing import Final

from chat_server.core.base.transitions import TransitionTable


class SessionState(IntEnum):
    """Where a session is in its life."""

    UNNAMED = 0
    """Connected; its `hello` has not succeeded yet."""
    ACTIVE = 1
    """Connected, and known to others by its name."""
    LEAVING = 2
    """Still connected, but it has quit or is being disconnected for good: it cannot be resumed."""
    HELD = 3
    """Without a connection: it keeps its name and its conversations until it is resumed, or expires."""
    EXPIRING = 4
    """No longer resumable; others see its end once that is stored."""
    CLOSED = 5
    """Removed, or replaced by the session that its connection has resumed."""


class SessionEvent(IntEnum):
    """What happens to a session."""

    ACTIVATE = 0
    """Its `hello` has succeeded."""
    RESTORE = 1
    """The server has started, and found it in the registry."""
    LEAVE = 2
    """It quits, or is disconnected by the server for good."""
    HOLD = 3
    """Its connection was lost."""
    RESUME = 4
    """A new connection takes it over."""
    EXPIRE = 5
    """Its hold time is over, or too many are held."""
    CLOSE = 6
    """It is removed."""


_S, _E = SessionState, SessionEvent

SESSION_TRANSITIONS: Final = TransitionTable[SessionState, SessionEvent](
    {
        _S.UNNAMED: {
            _E.ACTIVATE: _S.ACTIVE,
            _E.RESTORE: _S.HELD,
            _E.LEAVE: _S.LEAVING,
            _E.CLOSE: _S.CLOSED,
        },
        _S.ACTIVE: {_E.LEAVE: _S.LEAVING, _E.HOLD: _S.HELD, _E.CLOSE: _S.CLOSED},
        _S.LEAVING: {_E.LEAVE: _S.LEAVING, _E.CLOSE: _S.CLOSED},
        _S.HELD: {_E.RESUME: _S.ACTIVE, _E.EXPIRE: _S.EXPIRING, _E.CLOSE: _S.CLOSED},
        _S.EXPIRING: {_E.CLOSE: _S.CLOSED},
        _S.CLOSED: {},
    }
)
