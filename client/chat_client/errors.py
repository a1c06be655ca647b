"""What can go wrong for a client, as exceptions with a sentence that a person can read.

Knows the protocol's codes. Must not know sockets or terminals.
"""

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Bye


class ChatError(Exception):
    """The base of all that this package raises by itself."""


class ConnectionFailed(ChatError):  # noqa: N818  the name says it
    """No session could be had: nobody listens, the name is unknown, or it is not a chat server."""


class ConnectionLost(ChatError):  # noqa: N818  as above
    """The connection is gone, or there is none at the moment; `bye` is the server's last word, if any."""

    def __init__(self, message: str, bye: Bye | None = None) -> None:
        super().__init__(message)
        self.bye = bye


class Refused(ChatError):  # noqa: N818  a refusal is an answer, not a failure of the program
    """The server will not do it; `retry_after` is in seconds, None where waiting does not help."""

    def __init__(self, code: ErrorCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


class TimedOut(ChatError, TimeoutError):  # noqa: N818  as TimeoutError itself says
    """No answer came in the time that was given; the command may still be carried out."""


class Ended(ChatError):  # noqa: N818  no error: somebody called quit() or close()
    """The client has been closed by its own program."""
