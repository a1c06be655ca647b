"""The first exchange on a new connection, while nobody else may use it: hello, welcome, a question or two.

Knows the order of greeting. Must not know what the session is or what an answer is for. What comes beside the
answers is kept for whoever reads on.
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
    """A link that is not open to the program yet; each answer may take `timeout` seconds."""

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._unread: collections.deque[Event] = collections.deque()  # not looked at yet
        self._other_events: list[Event] = []
        self._request_count = 0

    def exchange_hello(self, hello: Hello) -> Welcome:
        """Say hello and return the welcome; Refused, ConnectionFailed, or ConnectionLost with its `bye`."""
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
        """Return the answer to a command; errors as in `greet`."""
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
        """Return what came beside the answers and behind them, in its order."""
        return [*self._other_events, *self._unread]

    def _next_event(self, deadline: float) -> Event:
        while not self._unread:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConnectionFailed(f"the server did not answer the greeting within {self._timeout:g} s")
            try:
                self._unread.extend(self._link.read(left))
            except ConnectionLost as error:
                raise ConnectionFailed(f"no welcome: {error}") from error
        event = self._unread.popleft()
        if isinstance(event, Bye):
            raise ConnectionLost(bye_sentence(event), event)
        return event


def bye_sentence(bye: Bye) -> str:
    """Say why the server ended the session."""
    return " ".join(event_sentences(bye))
