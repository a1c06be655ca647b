"""What goes out once more on a new connection, in its order and no faster than the server allows.

Knows the messages that are not acknowledged and the pace. While some of them wait, everything else waits
behind them, so that nothing that was said later is stored earlier. One object a connection. Any thread may
call it.
"""

import collections
import threading
from collections.abc import Callable

from chat_client.base.pacing import Pacer
from chat_client.connection.link import Link
from chat_client.connection.pending import PendingCommands
from chat_protocol.commands import Command, Message
from chat_protocol.events import Limits

_EARLY_SEND_S = 0.05  # seconds too early that do no harm: the pace leaves a part of the burst unused
_UNAVAILABLE_RETRY_S = 1.0  # seconds before a message goes again that the server could not store


class ResendQueue:
    """The waiting commands of one connection."""

    def __init__(self, link: Link, pending: PendingCommands, limits: Limits) -> None:
        self._link = link
        self._pending = pending
        self._pacer = Pacer(limits)
        self._lock = threading.Lock()
        self._waiting: collections.deque[Command] = collections.deque()
        self._unavailable_refs: set[str] = set()  # refs of messages that were `unavailable`
        self._pace_timer: threading.Timer | None = None  # for the first that waits
        self._retry_timer: threading.Timer | None = None  # for those that were refused
        self._cancelled = False

    def send_unacknowledged(self) -> None:
        """Send all that is not acknowledged."""
        with self._lock:
            self._waiting.extend(self._pending.unacknowledged())
            self._send_due()

    def send(self, command: Command) -> None:
        """Send a new command, behind those that wait."""
        with self._lock:
            if not self._waiting:
                self._link.send(command)
            elif all(command is not one for one in self._waiting):
                self._waiting.append(command)

    def retry_unavailable(self, ref: str | None, after: float | None) -> None:
        """Let a message that may or may not be stored go again, with the same ref."""
        if ref is None or self._pending.find_message(ref) is None:
            return
        with self._lock:
            if not self._unavailable_refs:
                self._retry_timer = self._start_timer(after or _UNAVAILABLE_RETRY_S, self._send_unavailable)
            self._unavailable_refs.add(ref)

    def cancel(self) -> None:
        """Send nothing more."""
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
        """Send until it is time to wait; MUST be called with the lock held."""
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
