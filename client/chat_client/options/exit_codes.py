"""Exit codes of `chat-client`, a closed list for scripts."""

from enum import IntEnum

from chat_client.errors import ChatError, ConnectionLost, Refused, TimedOut
from chat_protocol.errors import ByeReason


class ExitCode(IntEnum):
    """Exit code of a command."""

    OK = 0
    USAGE = 2
    CONNECTION = 3
    REFUSED = 4
    TIMEOUT = 5
    HANGUP = 129  # 128 + SIGHUP
    INTERRUPTED = 130  # 128 + SIGINT, as in shells


EXIT_CODES_HELP = """\
exit codes:
  0  done, and acknowledged by the server
  2  wrong usage, or a standard stream that cannot be read or written
  3  no connection, or it was lost
  4  refused by the server (name taken, no such user, kicked, full ...), or no valid message text
  5  no answer in time
  129  the terminal was closed (SIGHUP)
  130  interrupted (Ctrl-C, SIGTERM)
"""

_REFUSAL_REASONS = frozenset(
    {ByeReason.KICKED, ByeReason.REPLACED, ByeReason.FLOODING, ByeReason.TOO_MANY_CONNECTIONS}
)


def exit_code(error: ChatError) -> ExitCode:
    """Return the exit code for `error`."""
    match error:
        case Refused():
            return ExitCode.REFUSED
        case TimedOut():
            return ExitCode.TIMEOUT
        case ConnectionLost(bye=bye) if bye is not None and bye.reason in _REFUSAL_REASONS:
            return ExitCode.REFUSED
        case _:
            return ExitCode.CONNECTION
