"""Exceptions of the client library; `str()` of each is a sentence for people."""

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Bye


class ChatError(Exception):
    """Base of all exceptions that this package raises by itself."""


class ConnectionFailed(ChatError):  # noqa: N818  the name says it
    """Raised when no session can be opened: connection refused, unknown host, or not a chat server."""


class ConnectionLost(ChatError):  # noqa: N818  as above
    """Raised when the connection is lost, or there is none now.

    - `bye`: the server's `Bye` event with the reason, None if the connection ended without one.
    """

    def __init__(self, message: str, bye: Bye | None = None) -> None:
        super().__init__(message)
        self.bye = bye


class Refused(ChatError):  # noqa: N818  a refusal is an answer, not a failure of the program
    """Raised when the server rejects a command.

    - `code`: the error code of the protocol.
    - `message`: a sentence for people.
    - `retry_after`: seconds to wait before the command can succeed, None if waiting does not help.
    """

    def __init__(self, code: ErrorCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class TimedOut(ChatError, TimeoutError):  # noqa: N818  as TimeoutError itself says
    """Raised when no answer arrives within the timeout; the server may still carry out the command."""


class Ended(ChatError):  # noqa: N818  not an error: quit() or close() was called
    """Raised by calls that are pending or made after `quit` or `close` of the same client."""
