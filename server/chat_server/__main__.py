"""The entry of the command `chat-server`: signals first, then the imports, which take a while.

MUST NOT import anything of ours before the handlers are installed: by default SIGHUP and SIGUSR1, which ask a
running server for something, would end one that is still starting.
"""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the server; return the exit code."""
    early: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        early.append(number)

    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, remember)
    # SIGTERM and SIGINT end a start at once: nothing has been accepted yet. The kernel does that, also while
    # a library is loaded or the store brought up to date; but it spares the first process of a container.
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end if os.getpid() == 1 else signal.SIG_DFL)

    from chat_server.process import main as run  # noqa: PLC0415

    return run(early)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
