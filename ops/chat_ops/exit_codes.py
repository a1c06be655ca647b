"""Exit codes of `chat-logs`."""

from typing import Final

EXIT_OK: Final = 0
EXIT_BOUND_BROKEN: Final = 1
EXIT_USAGE: Final = 2
