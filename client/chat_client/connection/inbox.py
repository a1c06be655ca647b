"""Bounded queue of events, from the connection's thread to the program's loop.

`put` MUST NOT block: the next event may be the answer that the program waits for.
"""

import collections
import threading
import time

from chat_client.errors import ChatError, TimedOut
from chat_client.events import Overrun
from chat_protocol.events import Event


class Inbox:
    """A queue of at most `limit` events; above it the oldest are dropped and counted in an `Overrun`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: collections.deque[Event] = collections.deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._end_error: ChatError | None = None

    def put(self, event: Event) -> None:
        """Add an event. Never blocks."""
        with self._changed:
            self._events.append(event)
            if len(self._events) > self._limit:
                self._events.popleft()
                self._dropped += 1
            self._changed.notify()

    def put_end(self, error: ChatError) -> None:
        """End the queue with `error`, which `get` raises once the queue is empty."""
        with self._changed:
            if self._end_error is None:
                self._end_error = error
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> Event:
        """Return the next event. Raises `TimedOut` after `timeout` seconds, or the error of `put_end`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._events and not self._dropped:
                if self._end_error is not None:
                    raise self._end_error
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimedOut(f"no event within {timeout:g} s")
                self._changed.wait(left)
            if self._dropped:
                count, self._dropped = self._dropped, 0
                return Overrun(count=count)
            return self._events.popleft()
