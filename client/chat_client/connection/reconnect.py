"""Keeps a session going: says hello, reads, hands events on, and comes back when the connection is lost.

Knows the order in which these happen. Must not know the program's questions (client.py) nor how bytes travel
(connection/link.py). One thread runs `_run`; it alone reads, and it alone changes the session.
"""

import threading
import time
from collections.abc import Callable

from chat_client.base.backoff import Backoff
from chat_client.base.rtt_samples import Samples
from chat_client.connection.catch_up import CatchUp
from chat_client.connection.handshake import Door, goodbye
from chat_client.connection.inbox import Inbox
from chat_client.connection.link import Link
from chat_client.connection.pending import Calls
from chat_client.connection.reconcile import stored
from chat_client.connection.resend_queue import Again
from chat_client.connection.session import Session
from chat_client.errors import ChatError, ConnectionFailed, ConnectionLost, Ended, Refused
from chat_client.events import Back, Lost, RoundTrip
from chat_protocol.commands import Command, Message, Pong, Quit, Rename
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
        self._changed = threading.Condition()  # guards _link, _again and _over
        self._link: Link | None = None
        self._again: Again | None = None  # what goes out on _link
        self._over: ChatError | None = None
        self._early: list[Event] = []  # came in one piece with the welcome
        self._lost_at: float | None = None  # when the last connection ended
        self._catch_up: CatchUp | None = None
        self._away = 0.0  # seconds without a connection, before this one
        self.loss = ConnectionLost("not connected")  # why there is no connection, while there is none
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
        with self._changed:
            if self._over is not None:
                raise self._over
            if self._again is not None:
                self._again.send(command)
            elif self._backoff is None or not isinstance(command, Message):
                raise self.loss

    def cut(self) -> None:
        """Break the connection, if there is one, without a word to the server."""
        link = self._link
        if link is not None:
            link.abort()

    def stop(self, error: ChatError) -> None:
        """End it all; what waits is told `error`."""
        self._stopped.set()
        self._end(error)
        link = self._link
        if link is not None:
            if self._session.resumable:
                link.send(Quit())  # or the server would keep the name for a session that nobody comes back to
            link.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_JOIN)

    def wait_for_link(self, deadline: float) -> Link | None:
        """Return the connection once there is one; None at `deadline` (monotonic) or at the end."""
        with self._changed:
            left = deadline - time.monotonic()
            self._changed.wait_for(lambda: self._link is not None or self._over is not None, max(0.0, left))
            return self._link if self._over is None else None

    def wait_for_end(self, link: Link, deadline: float) -> None:
        """Wait until this connection has ended, at most until `deadline` (monotonic)."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._link is not link or self._over is not None,
                max(0.0, deadline - time.monotonic()),
            )

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
            self._lost_at = time.monotonic()
            with self._changed:
                assert self._again is not None
                self._again.end()
                self._link = self._again = self._catch_up = None
                self._changed.notify_all()
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
            case MessageEvent() if event.sender == self._session.id:
                self._calls.acknowledge(event)
                if event.again:  # an answer to us alone: in its own place it came already or is still to come
                    return
            case Error() | HistoryPage() if self._catch_up is not None and self._catch_up.answered(event):
                self._end_catch_up()
                return
            case Error() if self._calls.refuse(event):
                if event.code is ErrorCode.UNAVAILABLE and self._again is not None:
                    self._again.unavailable(event.ref, event.retry_after)
                return
            case Bye():
                raise ConnectionLost(goodbye(event), event)
            case _:
                pass
        if not self._session.saw(event):
            return
        self._calls.answer(event)
        if not isinstance(event, _ONLY_ANSWERS):
            self._inbox.put(event)
        if self._catch_up is not None:
            self._catch_up.saw(event)
            self._end_catch_up()

    def _end_catch_up(self) -> None:
        """Say so, if everything that was missed is here."""
        if self._catch_up is not None and self._catch_up.over:
            self._inbox.put(Back(seconds=self._away, caught_up=self._catch_up.count, resumed=True))
            self._catch_up = None

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
        after = bye.after if bye is not None else None
        while True:
            wait = self._backoff.next_wait(after)
            after = None
            self.loss = ConnectionLost(f"not connected: {message}", bye)
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
                message, bye, after = str(refused), None, refused.retry_after
            except ConnectionLost as again:
                if again.bye is not None and again.bye.reason in NO_RETURN:
                    self._end(again)
                    return False
                message, bye = str(again), again.bye
                after = bye.after if bye is not None else None
            except ConnectionFailed as failed:
                message, bye = str(failed), None
            except Ended:  # somebody closed the client while we greeted
                return False
            else:
                return True

    def _open(self) -> Welcome:
        """Connect, say hello, and send again what was not acknowledged."""
        link = self._route()
        door = Door(link, self._timeout)
        returns = self._session.resume is not None or self._lost_at is not None
        try:
            welcome = door.greet(self._session.hello())
            if not welcome.resumed and welcome.epoch == self._session.epoch:
                for event in stored(door.ask, self._session, self._calls.unacknowledged()):
                    self._calls.acknowledge(event)
        except BaseException:
            link.close()
            raise
        self._away = 0.0 if self._lost_at is None else time.monotonic() - self._lost_at
        with self._changed:
            if self._over is not None:
                link.close()
                raise self._over
            self._session.welcomed(welcome)
            if returns and welcome.resumed:
                self._resume(link)
            self._link, self._again = link, Again(link, self._calls, welcome.limits)
            self._again.everything()
            self._changed.notify_all()
        if self._ping_every > 0:
            link.ping_every(self._ping_every)
        self._inbox.put(welcome)
        if returns and not welcome.resumed:
            self._inbox.put(Back(seconds=self._away, caught_up=0, resumed=False))
        self._end_catch_up()
        self._early = door.rest()
        return welcome

    def _resume(self, link: Link) -> None:
        """Ask how far each room has come, and for the name that was wanted meanwhile."""
        self._catch_up = CatchUp(self._session, self._calls.new_ref)
        for question in self._catch_up.questions:
            link.send(question)
        wanted = self._session.take_wanted()
        if wanted is not None:
            link.send(Rename(username=wanted))

    def _end(self, error: ChatError) -> None:
        with self._changed:
            if self._over is None:
                self._over = error
            error = self._over
            self._changed.notify_all()
        self._calls.fail(error, messages=True)
        self._inbox.end(error)
