"""Keeps a session going: says hello, reads, hands events on, and comes back when the connection is lost.

Knows the order in which these happen. Must not know the program's questions (client.py) nor how bytes travel
(link.py). One thread runs `_run`; it alone reads, and it alone changes the session.
"""

import threading
import time
from collections.abc import Callable

from chat_client.backoff import Backoff
from chat_client.calls import Calls
from chat_client.errors import ChatError, ConnectionFailed, ConnectionLost, Ended, Refused
from chat_client.inbox import Inbox
from chat_client.link import Link
from chat_client.local_events import Lost, RoundTrip
from chat_client.samples import Samples
from chat_client.session import Session
from chat_protocol.commands import Command, Message, Pong
from chat_protocol.errors import NO_RETURN, ByeReason, ErrorCode
from chat_protocol.events import (
    Bye,
    Error,
    Event,
    HistoryPage,
    MessageEvent,
    PingEvent,
    PongEvent,
    RoomList,
    RttReport,
    ServerList,
    UserList,
    Welcome,
)

_STEADY = 10.0  # seconds a connection lasts before the waits begin anew: a server may accept and fall at once
_SILENT_PINGS = 3  # intervals without a single byte after which the other side is gone
_LEAST_SILENCE = 20.0  # seconds: a server that is busy for less must not be left in droves
_AGAIN = 1.0  # seconds before a message goes again that the server could not store
_PASSING = frozenset(
    {
        ErrorCode.NAME_TAKEN,  # our own old connection may hold it until the server notices its end
        ErrorCode.UNAVAILABLE,
        ErrorCode.RATE_LIMITED,
        ErrorCode.TOO_MANY,
        ErrorCode.INTERNAL,
    }
)
"""Refusals of a hello that may be different the next time, once there has been a session."""
_ONLY_ANSWERS = (RoomList, UserList, ServerList, HistoryPage, RttReport, PongEvent)
"""Events that are for whoever asked, and nothing to the program's loop."""
_JOIN = 1.0  # seconds that stopping waits for the thread, which may be in the middle of connecting


class Keeper:
    """The connection of a client and its thread."""

    def __init__(
        self,
        route: Callable[[], Link],
        session: Session,
        calls: Calls,
        inbox: Inbox,
        samples: Samples,
        *,
        backoff: Backoff | None,
        timeout: float,
        ping_every: float,
    ) -> None:
        self._route = route
        self._session = session
        self._calls = calls
        self._inbox = inbox
        self._samples = samples
        self._backoff = backoff  # None: the first loss is the end
        self._timeout = timeout
        self._ping_every = ping_every
        self._lock = threading.Lock()  # for _link: what is sent on it, in which order
        self._link: Link | None = None
        self._over: ChatError | None = None
        self._early: list[Event] = []  # came in one piece with the welcome
        self._again: set[str] = set()  # refs of messages that were `unavailable`
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chat-client reader", daemon=True)

    @property
    def link(self) -> Link | None:
        """The open connection, None while there is none."""
        return self._link

    @property
    def returning(self) -> bool:
        """Whether there was a connection and there will be one again."""
        return self._link is None and self._over is None and self._thread.is_alive()

    def start(self) -> Welcome:
        """Say hello in the caller's thread, then read in our own; errors as in `Client.connect`."""
        welcome = self._open()
        self._thread.start()
        return welcome

    def submit(self, command: Command) -> None:
        """Send now; a message may wait for the next connection instead. ConnectionLost or Ended otherwise."""
        with self._lock:
            if self._over is not None:
                raise self._over
            if self._link is not None:
                self._link.send(command)
            elif self._backoff is None or not isinstance(command, Message):
                raise ConnectionLost("not connected at the moment")

    def stop(self, error: ChatError) -> None:
        """End it all; what waits is told `error`."""
        self._stopped.set()
        self._end(error)
        link = self._link
        if link is not None:
            link.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_JOIN)

    def wait_for_end(self, timeout: float) -> bool:
        """Wait until the connection's thread has ended; tell whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                began = time.monotonic()
                lost = self._read_until_lost()
                if self._backoff is not None and time.monotonic() - began > _STEADY:
                    self._backoff.reset()
                if not self._come_back(lost):
                    return
        except BaseException as error:
            # A mistake of ours or of a callback: nobody may wait for ever for a thread that is gone.
            self._end(ConnectionLost(f"the client failed: {error!r}"))
            raise

    def _read_until_lost(self) -> ConnectionLost:
        link = self._link
        assert link is not None
        silence = self._silence()
        try:
            events, self._early = self._early, []
            while True:
                for event in events:
                    self._take(event, link)
                events = link.read(silence)
        except ConnectionLost as lost:
            with self._lock:
                self._link = None
            link.close()
            return lost

    def _silence(self) -> float | None:
        """Return the seconds without a byte after which the connection counts as lost."""
        welcome = self._session.welcome
        assert welcome is not None
        intervals = [seconds for seconds in (welcome.ping_interval, self._ping_every) if seconds > 0]
        return max(_LEAST_SILENCE, _SILENT_PINGS * min(intervals)) if intervals else None

    def _take(self, event: Event, link: Link) -> None:
        match event:
            case PingEvent():
                link.send(Pong(id=event.id))
                return
            case RoundTrip():
                self._samples.add(event.ms)
                self._calls.answer(event)
                return
            case MessageEvent() if event.sender == self._session.id and self._calls.acknowledge(event):
                if event.again:  # an answer to us alone, outside the room's order
                    return
            case Error() if self._calls.refuse(event):
                if event.code is ErrorCode.UNAVAILABLE:
                    self._send_again(event)
                return
            case Bye():
                raise ConnectionLost(goodbye(event), event)
            case _:
                pass
        self._session.saw(event)
        self._calls.answer(event)
        if not isinstance(event, _ONLY_ANSWERS):
            self._inbox.put(event)

    def _send_again(self, refusal: Error) -> None:
        """Let a message that may or may not be stored go again, with the same ref."""
        if self._calls.message(refusal.ref) is None or refusal.ref is None:
            return
        with self._lock:
            first = not self._again
            self._again.add(refusal.ref)
        if first:
            timer = threading.Timer(refusal.retry_after or _AGAIN, self._resend)
            timer.daemon = True
            timer.start()

    def _resend(self) -> None:
        with self._lock:
            refs, self._again = self._again, set()
            if self._link is None:
                return  # the next connection sends everything again
            for message in self._calls.unacknowledged():
                if message.ref in refs:
                    self._link.send(message)

    def _come_back(self, lost: ConnectionLost) -> bool:
        """Try to connect until it succeeds; tell whether there is a connection."""
        away_for_good = lost.bye is not None and lost.bye.reason in NO_RETURN
        if self._backoff is None or away_for_good or self._stopped.is_set():
            asked = lost.bye is not None and lost.bye.reason is ByeReason.QUIT
            self._end(Ended("the session has been closed") if asked else lost)
            return False
        self._calls.fail(lost, messages=False)
        bye = lost.bye
        message = str(lost)
        while True:
            wait = self._backoff.next_wait(bye.after if bye is not None else None)
            self._inbox.put(Lost(message=message, wait=wait, bye=bye))
            if self._stopped.wait(wait):
                self._end(lost)
                return False
            try:
                self._open()
            except Refused as refused:
                if refused.code not in _PASSING:
                    self._end(refused)
                    return False
                message, bye = str(refused), None
            except ConnectionLost as again:
                if again.bye is not None and again.bye.reason in NO_RETURN:
                    self._end(again)
                    return False
                message, bye = str(again), again.bye
            except ConnectionFailed as failed:
                message, bye = str(failed), None
            else:
                return True

    def _open(self) -> Welcome:
        """Connect, say hello, and send again what was not acknowledged."""
        link = self._route()
        try:
            welcome, early = self._greet(link)
        except BaseException:
            link.close()
            raise
        with self._lock:
            if self._over is not None:
                link.close()
                raise self._over
            self._session.welcomed(welcome)
            for message in self._calls.unacknowledged():
                link.send(message)
            self._link = link
        if self._ping_every > 0:
            link.ping_every(self._ping_every)
        self._inbox.put(welcome)
        self._early = early
        return welcome

    def _greet(self, link: Link) -> tuple[Welcome, list[Event]]:
        """Return the welcome and what came right behind it."""
        link.send(self._session.hello())
        deadline = time.monotonic() + self._timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConnectionFailed(f"the server did not answer the greeting within {self._timeout:g} s")
            try:
                events = link.read(left)
            except ConnectionLost as error:
                raise ConnectionFailed(f"no welcome: {error}") from error
            for index, event in enumerate(events):
                match event:
                    case Welcome():
                        return event, events[index + 1 :]
                    case Error():
                        raise Refused(event.code, event.message, event.retry_after)
                    case Bye():
                        raise ConnectionLost(goodbye(event), event)
                    case _:
                        pass

    def _end(self, error: ChatError) -> None:
        with self._lock:
            if self._over is None:
                self._over = error
            error = self._over
        self._calls.fail(error, messages=True)
        self._inbox.end(error)


def goodbye(bye: Bye) -> str:
    """Say why the server ended the session."""
    return bye.message or f"the server said good-bye ({bye.reason.replace('_', ' ')})"
