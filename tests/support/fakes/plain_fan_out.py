"""A fan-out that offers everything at once."""

from collections.abc import Callable, Collection
from typing import Any


class PlainFanOut:
    """The core's port `FanOut`."""

    deferred = 0

    def offer(self, outboxes: Collection[Any], chunk: bytes, /) -> list[Any]:
        """Offer `chunk` to all; return those that did not take it."""
        return [outbox for outbox in outboxes if not outbox.offer(chunk)]

    def when_sent(self, callback: Callable[[], None], /) -> None:
        callback()
