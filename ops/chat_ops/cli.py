"""The command `chat-logs`: its start, and what ends it.

Exit codes: 0 success, 1 a bound of --fail-if is broken, 2 wrong usage, nothing to read, or output that cannot
be written. Everything else is imported when it runs, as the packages of the extra `ops` may be missing.
"""

from collections.abc import Sequence
from typing import Final

from chat_cli import streams
from chat_cli.extras import missing_extra
from chat_ops.exit_codes import EXIT_BOUND_BROKEN, EXIT_OK, EXIT_USAGE

__all__ = ["EXIT_BOUND_BROKEN", "EXIT_INTERRUPTED", "EXIT_OK", "EXIT_USAGE", "main"]

PROGRAM: Final = "chat-logs"
EXIT_INTERRUPTED: Final = streams.INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return streams.run(PROGRAM, lambda: _main(argv), output_failed=EXIT_USAGE, reader_gone=EXIT_OK)


def _main(argv: Sequence[str] | None) -> int:
    try:
        from chat_ops.dispatch import dispatch  # noqa: PLC0415  see the top of the file

        return dispatch(argv)
    except ImportError as error:
        streams.print_error(PROGRAM, missing_extra(error, "ops"))
        return EXIT_USAGE
