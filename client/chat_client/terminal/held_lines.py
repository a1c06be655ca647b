"""Lines held back after a change of room or conversation that failed, or that the user did not ask for.

A line typed for one person must not be sent to a room, because `/chat` failed or the other closed the
conversation: lines that were typed before the user could know, or else the first after it, are put back.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

NOTICE_S: Final = 0.5
"""Seconds after the failure in which a line counts as typed before its user could know."""


class HeldLines:
    """Decides which lines are held back. Thread-safe; inputs are numbered in the order of typing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._typed = 0
        self._held_up_to = 0  # number of the last input that was typed before the user could know
        self._failed_at = -NOTICE_S
        self._reason: str | None = None  # why lines are held
        self._any_held = False  # since the last failure: the next line is the user's answer to it

    def number_input(self) -> int:
        """Return the number of a new input."""
        with self._lock:
            self._typed += 1
            if self._clock() < self._failed_at + NOTICE_S:
                self._held_up_to = self._typed
            return self._typed

    def note_failure(self, reason: str) -> None:
        """Note that a change has failed, or was made by others; `reason` is a sentence."""
        with self._lock:
            self._held_up_to = self._typed
            self._failed_at = self._clock()
            self._reason = reason
            self._any_held = False

    def note_success(self) -> None:
        """Note that the user has changed to a room or conversation: further lines are meant for it."""
        with self._lock:
            self._reason = None

    def reason_to_hold(self, number: int) -> str | None:
        """Return why this line is held back, None if it is to be sent."""
        with self._lock:
            reason = self._reason
            if number > self._held_up_to:
                self._reason = None
                return None if self._any_held else reason
            self._any_held = reason is not None
            return reason
