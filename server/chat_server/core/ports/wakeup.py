"""The port that wakes a loop: made before the objects that call it and the loop that waits for it."""

from typing import Protocol


class Wakeup(Protocol):
    """A request to a loop to run soon. MUST NOT switch greenlets."""

    def wake(self) -> None:
        """Make the loop run once more, however often this is called before it does."""
