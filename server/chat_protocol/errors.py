"""The closed lists of error codes and of reasons for ending a connection, and what a peer did wrong.

A `Fault` is a value, not an exception: a codec hands it on in its place among the commands, so that a
broken frame between two good ones is answered between them.
"""

from enum import StrEnum
from typing import Final

import msgspec


class ErrorCode(StrEnum):
    """Codes of the `error` event."""

    BAD_FRAME = "bad_frame"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_FIELD = "invalid_field"
    FRAME_TOO_LARGE = "frame_too_large"
    NAME_TAKEN = "name_taken"
    NAME_INVALID = "name_invalid"
    HELLO_FIRST = "hello_first"
    ALREADY_NAMED = "already_named"
    NOT_JOINED = "not_joined"
    NO_SUCH_ROOM = "no_such_room"
    NO_SUCH_USER = "no_such_user"
    RATE_LIMITED = "rate_limited"
    TOO_MANY = "too_many"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class ByeReason(StrEnum):
    """Reasons in the `bye` event; after `replaced` and `kicked` a client does not come back by itself."""

    QUIT = "quit"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    FRAME_TOO_LARGE = "frame_too_large"
    FLOODING = "flooding"
    REPLACED = "replaced"
    KICKED = "kicked"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    HELLO_TIMEOUT = "hello_timeout"


NO_RECONNECT_REASONS: Final = frozenset({ByeReason.QUIT, ByeReason.REPLACED, ByeReason.KICKED})
"""Reasons after which a client stays away until a person asks it to come back."""


class Fault(msgspec.Struct, frozen=True):
    """What the peer did wrong, where it did it.

    `bye` ends the connection with that reason after the error; `close` ends it without a `bye` (the peer
    does not speak our protocol). Neither: the session goes on.
    """

    code: ErrorCode
    message: str
    ref: str | None = None
    bye: ByeReason | None = None
    close: bool = False


class Refused(Exception):  # noqa: N818  a refusal is the peer's error, not the program's
    """A command that the server will not carry out: the peer erred, and is told the code and a sentence."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
