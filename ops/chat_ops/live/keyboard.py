"""Key presses without Enter (terminal in cbreak mode)."""

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any, Self


class Keyboard:
    """Context manager that reads keys from standard input; none if that is not a terminal."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._modes: list[Any] = []

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            self._descriptor = sys.stdin.fileno()
            self._modes = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
            self._descriptor = None

    def wait(self, seconds: float) -> str:
        """Return the keys pressed, at once if there are any; empty after `seconds`."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return ""
        keys = os.read(self._descriptor, 64)
        if not keys:  # the terminal hung up
            self._descriptor = None
        return keys.decode("utf-8", "replace")
