"""Pending commands: sent and not answered yet, by ref.

A message stays pending until the server has acknowledged or rejected it, also over a lost connection if the
client reconnects. All other commands fail with their connection.
"""

import itertools
import secrets
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from chat_client.errors import ChatError, Refused, TimedOut
from chat_protocol.commands import Command, Message
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, Event, MessageEvent

MAX_UNACKNOWLEDGED_MESSAGES = 512
"""Unacknowledged messages at a time: half of the 1,024 refs that the server remembers of a session."""

Answer = TypeVar("Answer", bound=Event)


class Pending(Generic[Answer]):
    """A command that has been sent, and its answer or error. Thread-safe; made by `Client.send`.

    - `command`: the command, with its `ref`.
    - `expects`: class of the event that answers it.
    """

    def __init__(self, command: Command, expects: type[Answer]) -> None:
        self.command = command
        self.expects = expects
        self._done = threading.Event()
        self._answer: Answer | None = None
        self._error: ChatError | None = None
        self._callback: Callable[[Pending[Answer]], None] | None = None
        self._lock = threading.Lock()

    @property
    def done(self) -> bool:
        """Whether there is an answer or an error, so that `wait` returns at once."""
        return self._done.is_set()

    @property
    def error(self) -> ChatError | None:
        """The error in place of an answer; None if there is none, or none yet."""
        return self._error

    def wait(self, timeout: float | None = None) -> Answer:
        """Return the answer, waiting `timeout` seconds (default None: without limit).

        Raises `TimedOut` after that, `Refused` if the server rejected the command, and `ConnectionLost` or
        `Ended` if there will be no answer.
        """
        if not self._done.wait(timeout):
            raise TimedOut(f"no answer within {timeout:g} s")
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    def then(self, callback: "Callable[[Pending[Answer]], None]") -> None:
        """Call `callback` with this object once there is an answer or an error.

        It is called in the thread of the connection, where it MUST NOT block; or at once, if `done`.
        """
        with self._lock:
            if not self._done.is_set():
                self._callback = callback
                return
        callback(self)

    def settle(self, answer: Answer | None = None, error: ChatError | None = None) -> None:
        """Set the answer or the error; used by the client. Only the first call has an effect."""
        with self._lock:
            if self._done.is_set():
                return
            self._answer = answer
            self._error = error
            self._done.set()
        if self._callback is not None:
            self._callback(self)


class PendingCommands:
    """All pending commands of a client. Thread-safe."""

    def __init__(self, limit: int = MAX_UNACKNOWLEDGED_MESSAGES) -> None:
        self._limit = limit
        # The prefix distinguishes the refs of two programs that resume the same session.
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._messages: dict[str, Pending[MessageEvent]] = {}  # in the order of their sending
        self._others: dict[str, Pending[Event]] = {}

    def new_ref(self) -> str:
        """Return a new ref, unique in this client."""
        return f"{self._prefix}-{next(self._numbers)}"

    def expect_answer(self, command: Command, expects: type[Answer]) -> Pending[Answer]:
        """Register `command`, which has a new ref, to be answered by an event of class `expects`."""
        assert command.ref is not None
        pending = Pending(command, expects)
        with self._changed:
            self._others[command.ref] = pending  # type: ignore[assignment]  # the class is checked when it comes
        return pending

    def expect_acknowledgement(self, command: Message, timeout: float | None) -> Pending[MessageEvent]:
        """Register a message; wait while too many are pending. Raises `TimedOut` after `timeout` s."""
        assert command.ref is not None
        pending = Pending(command, MessageEvent)
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._messages) < self._limit, timeout):
                raise TimedOut(f"{self._limit} messages are not acknowledged yet; wait before sending more")
            self._messages[command.ref] = pending
        return pending

    def discard(self, pending: Pending[Answer]) -> None:
        """Remove a command whose answer is no longer awaited."""
        with self._changed:
            self._others.pop(pending.command.ref or "", None)
            if self._messages.pop(pending.command.ref or "", None) is not None:
                self._changed.notify_all()

    def acknowledge_message(self, event: MessageEvent) -> bool:
        """Settle the message that `event` of this session acknowledges; return whether there was one."""
        with self._changed:
            pending = self._messages.pop(event.ref or "", None)
            self._changed.notify_all()
        if pending is None:
            return False
        pending.settle(event)
        return True

    def answer_command(self, event: Event) -> bool:
        """Settle the command that `event` answers; return whether there was one."""
        with self._changed:
            pending = self._others.get(event.ref or "")
            if pending is None or not isinstance(event, pending.expects):
                return False
            del self._others[event.ref or ""]
        pending.settle(event)
        return True

    def refuse_command(self, event: Error) -> bool:
        """Settle the command that `event` rejects; return whether there was one.

        `unavailable` does not settle a message: it is unknown whether it was stored, so it must be resent.
        """
        ref = event.ref or ""
        with self._changed:
            if event.code is ErrorCode.UNAVAILABLE and ref in self._messages:
                return True
            message = self._messages.pop(ref, None)
            other = self._others.pop(ref, None)
            self._changed.notify_all()
        error = Refused(event.code, event.message, event.retry_after)
        if message is not None:
            message.settle(error=error)
        if other is not None:
            other.settle(error=error)
        return message is not None or other is not None

    def find_message(self, ref: str | None) -> Message | None:
        """Return the pending message with this ref, None if there is none."""
        with self._changed:
            pending = self._messages.get(ref or "")
        return None if pending is None else _pending_message(pending)

    def unacknowledged(self) -> list[Message]:
        """Return the pending messages, in the order of sending."""
        with self._changed:
            return [_pending_message(pending) for pending in self._messages.values()]

    def fail_all(self, error: ChatError, *, messages: bool) -> None:
        """Settle all pending commands with `error`; with `messages` those too, if there will be no reconnect.

        Messages stay listed as unacknowledged even then, so that a program can report them.
        """
        with self._changed:
            failed: list[Pending[Event]] = list(self._others.values())
            self._others.clear()
            said = list(self._messages.values()) if messages else []
        for pending in failed:
            pending.settle(error=error)
        for message in said:
            message.settle(error=error)


def _pending_message(pending: Pending[MessageEvent]) -> Message:
    assert isinstance(pending.command, Message)
    return pending.command
