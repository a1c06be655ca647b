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
from chat_client.connection.pending import Calls
from chat_protocol.commands import Command, Message
from chat_protocol.events import Limits

_LITTLE = 0.05  # seconds too early that do no harm: the pace leaves a part of the burst unused
_AFTER = 1.0  # seconds before a message goes again that the server could not store


class Again:
    """The waiting commands of one connection."""

    def __init__(self, link: Link, calls: Calls, limits: Limits) -> None:
        self._link = link
        self._calls = calls
        self._pacer = Pacer(limits)
        self._lock = threading.Lock()
        self._waiting: collections.deque[Command] = collections.deque()
        self._refused: set[str] = set()  # refs of messages that were `unavailable`
        self._timer: threading.Timer | None = None  # for the first that waits
        self._retry: threading.Timer | None = None  # for those that were refused
        self._ended = False

    def everything(self) -> None:
        """Send all that is not acknowledged."""
        with self._lock:
            self._waiting.extend(self._calls.unacknowledged())
            self._go()

    def send(self, command: Command) -> None:
        """Send a new command, behind those that wait."""
        with self._lock:
            if not self._waiting:
                self._link.send(command)
            elif all(command is not one for one in self._waiting):
                self._waiting.append(command)

    def unavailable(self, ref: str | None, after: float | None) -> None:
        """Let a message that may or may not be stored go again, with the same ref."""
        if ref is None or self._calls.message(ref) is None:
            return
        with self._lock:
            if not self._refused:
                self._retry = self._later(after or _AFTER, self._send_refused)
            self._refused.add(ref)

    def end(self) -> None:
        """Send nothing more."""
        with self._lock:
            self._ended = True
            self._waiting.clear()
            for timer in (self._timer, self._retry):
                if timer is not None:
                    timer.cancel()

    def _send_refused(self) -> None:
        with self._lock:
            refs, self._refused = self._refused, set()
            self._waiting.extend(one for one in self._calls.unacknowledged() if one.ref in refs)
            self._go()

    def _go(self) -> None:
        """Send until it is time to wait; MUST be called with the lock held."""
        while self._waiting and self._timer is None and not self._ended:
            command = self._waiting[0]
            size = len(command.message.encode()) if isinstance(command, Message) else 0
            wait = self._pacer.next_wait(size)
            if wait > _LITTLE:
                self._timer = self._later(wait, self._send_first)
            else:
                self._link.send(self._waiting.popleft())

    def _send_first(self) -> None:
        with self._lock:
            self._timer = None
            if self._waiting:
                self._link.send(self._waiting.popleft())
            self._go()

    @staticmethod
    def _later(seconds: float, call: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        return timer
