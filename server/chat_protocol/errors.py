"""Error codes, reasons for ending a connection (both closed lists), and protocol violations of a peer.

A `Fault` is a value, not an exception: a codec returns it in its place among the commands, so that a broken
frame between two valid ones is answered between them.
"""

from enum import StrEnum
from typing import Final

import msgspec


class ErrorCode(StrEnum):
    """Codes of the `error` event; docs/protocol.md says what each means."""

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
    """Reasons of the `bye` event; after those in `NO_RECONNECT_REASONS` a client does not reconnect."""

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
"""Reasons after which a client MUST NOT reconnect until its user asks for it."""


class Fault(msgspec.Struct, frozen=True):
    """A protocol violation by the peer, in its place among the decoded commands.

    `message` is the sentence for the `error` event, `ref` that of the invalid command if it could be read.
    `bye` ends the connection with that reason after the error; `close` ends it without a `bye`, as the peer
    speaks another protocol. With neither, the session continues.
    """

    code: ErrorCode
    message: str
    ref: str | None = None
    bye: ByeReason | None = None
    close: bool = False


class Refused(Exception):  # noqa: N818  a refusal is the peer's error, not the program's
    """Raised for a valid command that is rejected: `code`, `message` and `retry_after` (s) go to the peer."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
