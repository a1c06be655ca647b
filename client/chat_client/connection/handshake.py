"""Handshake of a new connection, before it is published: hello, welcome, and queries to reconcile messages.

Runs in the thread that connects. Events that are not answers are kept for the reader.
"""

import collections
import time
from typing import TypeVar

import msgspec

from chat_client.connection.link import Link
from chat_client.errors import ConnectionFailed, ConnectionLost, Refused
from chat_protocol.commands import Command, Hello
from chat_protocol.events import Bye, Error, Event, Welcome
from chat_protocol.sentences import event_sentences

Answer = TypeVar("Answer", bound=Event)


class Handshake:
    """Exclusive use of a new link; `timeout` in seconds for each answer."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._unread: collections.deque[Event] = collections.deque()  # not examined yet
        self._other_events: list[Event] = []
        self._request_count = 0

    def exchange_hello(self, hello: Hello) -> Welcome:
        """Send hello, return the welcome. Raises `Refused`, `ConnectionFailed` or `ConnectionLost`."""
        self._link.send(hello)
        deadline = time.monotonic() + self._timeout
        while True:
            match self._next_event(deadline):
                case Welcome() as welcome:
                    return welcome
                case Error() as error:
                    raise Refused(error.code, error.message, error.retry_after)
                case _:
                    pass

    def request(self, command: Command, expects: type[Answer]) -> Answer:
        """Send a command and return its answer; errors as in `exchange_hello`."""
        self._request_count += 1
        ref = f"door-{self._request_count}"
        self._link.send(msgspec.structs.replace(command, ref=ref))
        deadline = time.monotonic() + self._timeout
        while True:
            event = self._next_event(deadline)
            if event.ref == ref and isinstance(event, Error):
                raise Refused(event.code, event.message, event.retry_after)
            if event.ref == ref and isinstance(event, expects):
                return event
            self._other_events.append(event)

    def leftover_events(self) -> list[Event]:
        """Return the events received that are no answers, in order."""
        return [*self._other_events, *self._unread]

    def _next_event(self, deadline: float) -> Event:
        while not self._unread:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConnectionFailed(f"no answer to hello within {self._timeout:g} s")
            try:
                self._unread.extend(self._link.read(left))
            except ConnectionLost as error:
                raise ConnectionFailed(f"no welcome: {error}") from error
        event = self._unread.popleft()
        if isinstance(event, Bye):
            raise ConnectionLost(bye_sentence(event), event)
        return event


def bye_sentence(bye: Bye) -> str:
    """Return why the server ended the session, as a sentence."""
    return " ".join(event_sentences(bye))
