"""Resend queue: unacknowledged messages go out on a new connection, in order and within the rate limits.

While messages wait, all later commands wait behind them, so that messages are stored in the order of sending.
One object per connection. Thread-safe.
"""

import collections
import threading
from collections.abc import Callable

from chat_client.base.pacing import Pacer
from chat_client.connection.link import Link
from chat_client.connection.pending import PendingCommands
from chat_protocol.commands import Command, Message
from chat_protocol.events import Limits

_EARLY_SEND_S = 0.05  # shorter waits are skipped: the pacer leaves a part of the burst unused
_UNAVAILABLE_RETRY_S = 1.0  # before a message is resent that the server could not store


class ResendQueue:
    """The queued commands of one connection."""

    def __init__(self, link: Link, pending: PendingCommands, limits: Limits) -> None:
        self._link = link
        self._pending = pending
        self._pacer = Pacer(limits)
        self._lock = threading.Lock()
        self._waiting: collections.deque[Command] = collections.deque()
        self._unavailable_refs: set[str] = set()  # refs of messages answered by `unavailable`
        self._pace_timer: threading.Timer | None = None  # for the first queued command
        self._retry_timer: threading.Timer | None = None  # for `_unavailable_refs`
        self._cancelled = False

    def send_unacknowledged(self) -> None:
        """Send all unacknowledged messages."""
        with self._lock:
            self._waiting.extend(self._pending.unacknowledged())
            self._send_due()

    def send(self, command: Command) -> None:
        """Send a new command, after the queued ones."""
        with self._lock:
            if not self._waiting:
                self._link.send(command)
            elif all(command is not one for one in self._waiting):
                self._waiting.append(command)

    def retry_unavailable(self, ref: str | None, after: float | None) -> None:
        """Resend a message that may have been stored, with the same ref, after `after` seconds."""
        if ref is None or self._pending.find_message(ref) is None:
            return
        with self._lock:
            if not self._unavailable_refs:
                self._retry_timer = self._start_timer(after or _UNAVAILABLE_RETRY_S, self._send_unavailable)
            self._unavailable_refs.add(ref)

    def cancel(self) -> None:
        """Drop the queue and stop the timers, as the connection has ended."""
        with self._lock:
            self._cancelled = True
            self._waiting.clear()
            for timer in (self._pace_timer, self._retry_timer):
                if timer is not None:
                    timer.cancel()

    def _send_unavailable(self) -> None:
        with self._lock:
            refs, self._unavailable_refs = self._unavailable_refs, set()
            self._waiting.extend(one for one in self._pending.unacknowledged() if one.ref in refs)
            self._send_due()

    def _send_due(self) -> None:
        """Send queued commands until the pacer demands a wait; MUST be called with the lock held."""
        while self._waiting and self._pace_timer is None and not self._cancelled:
            command = self._waiting[0]
            size = len(command.message.encode()) if isinstance(command, Message) else 0
            wait = self._pacer.next_wait(size)
            if wait > _EARLY_SEND_S:
                self._pace_timer = self._start_timer(wait, self._send_next)
            else:
                self._link.send(self._waiting.popleft())

    def _send_next(self) -> None:
        with self._lock:
            self._pace_timer = None
            if self._waiting:
                self._link.send(self._waiting.popleft())
            self._send_due()

    @staticmethod
    def _start_timer(seconds: float, call: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        return timer
