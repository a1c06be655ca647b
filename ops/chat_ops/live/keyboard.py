"""Keys as they are pressed, without Enter.

Knows the terminal's modes. Must not know what a key is for.
"""

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any, Self


class Keyboard:
    """Reads keys from the terminal while it is entered; without one on standard input, none ever come."""

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
        """Return the keys that were pressed, at once if there are any; empty after so many seconds."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return ""
        keys = os.read(self._descriptor, 64)
        if not keys:  # the terminal has hung up
            self._descriptor = None
        return keys.decode("utf-8", "replace")
