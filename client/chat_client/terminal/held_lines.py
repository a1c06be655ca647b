"""Lines held back after a change of room or conversation that failed, or that the user did not ask for.

A line typed for one person must not be sent to a room, because `/chat` failed or the other closed the
conversation: lines that were typed before the user could know, or else the first after it, are put back.
"""

import threading


class HeldLines:
    """Decides which lines are held back. Thread-safe; inputs are numbered in the order of typing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._typed = 0
        self._held_up_to = 0  # number of the last input that had been typed when the change failed
        self._reason: str | None = None  # why lines are held
        self._any_held = False  # since the failure: the next line is the user's answer to it
        self._last_held = False  # whether the last line was

    def number_input(self) -> int:
        """Return the number of a new input."""
        with self._lock:
            self._typed += 1
            return self._typed

    def note_failure(self, reason: str) -> None:
        """Note that a change has failed, or was made by others; `reason` is a sentence."""
        with self._lock:
            self._held_up_to = self._typed
            self._reason = reason
            self._any_held = self._last_held = False

    def note_success(self) -> None:
        """Note that the user has changed to a room or conversation: further lines are meant for it."""
        with self._lock:
            self._reason = None

    def reason_to_hold(self, number: int, *, typed_ahead: bool = False) -> str | None:
        """Return why this line is held back, None if it is to be sent.

        `typed_ahead`: it had been typed, or begun, when the line before it was entered.
        """
        with self._lock:
            if self._reason is None:
                return None
            is_answer = number > self._held_up_to and self._any_held and not (typed_ahead and self._last_held)
            self._any_held, self._last_held = True, not is_answer
            reason = self._reason
            if is_answer:
                self._reason = None
            return None if is_answer else reason
