"""Connects, reads, dispatches events, and reconnects when the connection is lost.

One thread runs `_run`; it alone reads from the link, and it alone changes the session.
"""

import threading
import time
from collections.abc import Callable

from chat_client.base.backoff import MAX_WAIT_S, Backoff
from chat_client.base.rtt_samples import RttSamples
from chat_client.connection.catch_up import CatchUp
from chat_client.connection.handshake import Handshake, bye_sentence
from chat_client.connection.inbox import Inbox
from chat_client.connection.link import Link
from chat_client.connection.pending import PendingCommands
from chat_client.connection.reconcile import stored_messages
from chat_client.connection.resend_queue import ResendQueue
from chat_client.connection.session import ClientSession
from chat_client.connection.session_keeper import SessionKeeper
from chat_client.errors import ChatError, ConnectionFailed, ConnectionLost, Ended, Refused
from chat_client.events import Back, Lost, RoundTrip
from chat_protocol.commands import Command, Message, Pong, Quit, Rename
from chat_protocol.errors import NO_RECONNECT_REASONS, ByeReason, ErrorCode
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

# How long a connection lasts before the backoff is reset: a server may accept connections and crash at once.
_STEADY_CONNECTION_S = 10.0
_SILENT_PING_INTERVALS = 3  # without a byte received, after which the connection counts as lost
_MIN_SILENCE_S = 20.0  # shorter stalls of the server must not make all clients reconnect at once
_RETRYABLE_REFUSALS = frozenset(
    {
        ErrorCode.NAME_TAKEN,  # the old connection may hold it until the server notices its end
        ErrorCode.UNAVAILABLE,
        ErrorCode.RATE_LIMITED,
        ErrorCode.TOO_MANY,
        ErrorCode.INTERNAL,
    }
)
"""Errors in answer to a hello after which to try again, if there has been a session."""
_ANSWER_EVENTS = (RoomList, UserList, ServerList, HistoryPage, RttReport, PongEvent)
"""Events that are answers only, and not passed to the program's loop."""
_THREAD_JOIN_S = 1.0  # how long `shut_down` waits for the thread, which may be connecting
# How long `shut_down` waits for the server to confirm `quit`: closing a connection that has unread input
# resets it, and the server might not read the `quit`.
_QUIT_CONFIRM_S = 1.0


class Reconnector:
    """The connection of a client, and the thread that reads from it and replaces it.

    `timeout`: seconds for connecting and for each answer of a handshake. `ping_every`: seconds between two
    pings, 0 for none.
    """

    def __init__(
        self,
        dial: Callable[[], Link],
        session: ClientSession,
        pending: PendingCommands,
        inbox: Inbox,
        samples: RttSamples,
        *,
        backoff: Backoff | None,
        timeout: float,
        ping_every: float,
        keeper: SessionKeeper | None = None,
    ) -> None:
        self._dial = dial
        self._session = session
        self._pending = pending
        self._inbox = inbox
        self._samples = samples
        self._backoff = backoff  # None: never reconnect
        self._timeout = timeout
        self._ping_every = ping_every
        self._keeper = keeper
        self._session_over = False  # whether the server has confirmed its end: nothing is left to resume
        self._changed = threading.Condition()  # guards _link, _resend_queue and _end_error
        self._link: Link | None = None
        self._resend_queue: ResendQueue | None = None  # commands to send on `_link`
        self._end_error: ChatError | None = None
        self._early_events: list[Event] = []  # received together with the welcome
        self._lost_at: float | None = None  # when the last connection ended
        self._catch_up: CatchUp | None = None
        self._away_s = 0.0  # without a connection, before this one
        self.last_loss = ConnectionLost("not connected")  # why there is no connection, while there is none
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chat-client reader", daemon=True)

    @property
    def link(self) -> Link | None:
        """The open link, None while there is none."""
        return self._link

    @property
    def reconnecting(self) -> bool:
        """Whether the connection is lost and attempts to reconnect continue."""
        return self._link is None and self._end_error is None and self._thread.is_alive()

    def start(self) -> Welcome:
        """Connect in the caller's thread, then start the reader thread; errors as in `Client.connect`."""
        if self._keeper is not None and self._session.resume is None:
            saved = self._keeper.load()
            if saved is not None:
                self._session.restore(saved.resume)
        try:
            welcome = self._open_connection()
        except BaseException as error:
            if self._keeper is not None:  # if another session has the name, the saved one has ended
                taken = isinstance(error, Refused) and error.code is ErrorCode.NAME_TAKEN
                self._keeper.end(delete=taken)
            raise
        self._thread.start()
        return welcome

    def send_or_queue(self, command: Command) -> None:
        """Send now, or queue a message for the next connection. Raises `ConnectionLost` or `Ended`."""
        with self._changed:
            if self._end_error is not None:
                raise self._end_error
            if self._resend_queue is not None:
                self._resend_queue.send(command)
            elif self._backoff is None or not isinstance(command, Message):
                raise self.last_loss

    def break_connection(self) -> None:
        """Break the connection, if there is one, without a `quit`."""
        link = self._link
        if link is not None:
            link.abort()

    def shut_down(self, error: ChatError) -> None:
        """Close the connection and stop the thread; everything pending fails with `error`."""
        self._stopped.set()
        self._finish(error)
        link = self._link
        if link is not None:
            if self._session.resumable:
                link.send(Quit())  # else the server would hold the session and its name
                self._join_thread(_QUIT_CONFIRM_S)
            link.close()
        self._join_thread(_THREAD_JOIN_S)
        if self._keeper is not None:
            self._keeper.end(delete=self._session_over)

    def _join_thread(self, timeout: float) -> None:
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def say_goodbye(self, goodbye: Quit, timeout: float) -> None:
        """Send `quit` and wait until the connection has ended, at most `timeout` seconds.

        While messages are unacknowledged, also waits for the next connection.
        """
        deadline = time.monotonic() + timeout
        while link := self._wait_for_link(deadline if self._pending.unacknowledged() else 0.0):
            try:
                self.send_or_queue(goodbye)
            except ChatError:
                continue  # the connection was lost first
            with self._changed:
                left = max(0.0, deadline - time.monotonic())
                self._changed.wait_for(lambda: self._link is not link or self._end_error is not None, left)
            if time.monotonic() >= deadline:
                break

    def _wait_for_link(self, deadline: float) -> Link | None:
        """Return the link once there is one; None at `deadline` (monotonic seconds) or at the end."""
        with self._changed:
            left = max(0.0, deadline - time.monotonic())
            self._changed.wait_for(lambda: self._link is not None or self._end_error is not None, left)
            return self._link if self._end_error is None else None

    def _run(self) -> None:
        try:
            while True:
                began = time.monotonic()
                lost = self._read_until_lost()
                if self._backoff is not None and time.monotonic() - began > _STEADY_CONNECTION_S:
                    self._backoff.reset()
                if not self._reconnect(lost):
                    return
        except BaseException as error:
            # A bug here or in a callback: pending calls must not wait for a thread that has ended.
            self._finish(ConnectionLost(f"internal error in the client: {error!r}"))
            raise

    def _read_until_lost(self) -> ConnectionLost:
        link = self._link
        assert link is not None
        silence = self._silence_timeout_s()
        try:
            events, self._early_events = self._early_events, []
            while True:
                for event in events:
                    self._handle_event(event, link)
                if self._keeper is not None:
                    self._keeper.note_change()
                events = link.read(silence)
        except ConnectionLost as lost:
            self._lost_at = time.monotonic()
            with self._changed:
                assert self._resend_queue is not None
                self._resend_queue.cancel()
                self._link = self._resend_queue = self._catch_up = None
                self._changed.notify_all()
            link.close()
            return lost

    def _silence_timeout_s(self) -> float | None:
        """Return the seconds without a byte received after which the connection counts as lost."""
        welcome = self._session.welcome
        assert welcome is not None
        intervals = [seconds for seconds in (welcome.ping_interval, self._ping_every) if seconds > 0]
        return max(_MIN_SILENCE_S, _SILENT_PING_INTERVALS * min(intervals)) if intervals else None

    def _handle_event(self, event: Event, link: Link) -> None:
        match event:
            case PingEvent():
                link.send(Pong(id=event.id))
                return
            case RoundTrip():
                self._samples.add(event.ms)
                self._pending.answer_command(event)
                return
            case MessageEvent() if event.sender == self._session.id:
                self._pending.acknowledge_message(event)
                if event.again:  # a repeated acknowledgement: the message itself has its place in the room
                    return
            case Error() | HistoryPage() if self._catch_up is not None and self._catch_up.handle_answer(
                event
            ):
                self._report_caught_up()
                return
            case Error() if self._pending.refuse_command(event):
                if event.code is ErrorCode.UNAVAILABLE and self._resend_queue is not None:
                    self._resend_queue.retry_unavailable(event.ref, event.retry_after)
                return
            case Bye():
                self._session_over = event.reason in NO_RECONNECT_REASONS
                raise ConnectionLost(bye_sentence(event), event)
            case _:
                pass
        rooms = self._session.rooms
        if not self._session.apply_event(event):
            return
        if self._keeper is not None and rooms is not self._session.rooms:
            self._keeper.save(sync=False)  # before the answer to the `join` that caused it
        self._pending.answer_command(event)
        if not isinstance(event, _ANSWER_EVENTS):
            self._inbox.put(event)
        if self._catch_up is not None:
            self._catch_up.observe(event)
            self._report_caught_up()

    def _report_caught_up(self) -> None:
        """Report `Back` if all missed messages have been received."""
        if self._catch_up is not None and self._catch_up.complete:
            self._inbox.put(Back(seconds=self._away_s, caught_up=self._catch_up.count, resumed=True))
            self._catch_up = None

    def _reconnect(self, lost: ConnectionLost) -> bool:
        """Try to connect until it succeeds or is hopeless; return whether there is a connection."""
        stays_away = lost.bye is not None and lost.bye.reason in NO_RECONNECT_REASONS
        if self._backoff is None or stays_away or self._stopped.is_set():
            asked = lost.bye is not None and lost.bye.reason is ByeReason.QUIT
            self._finish(Ended("the session has been closed") if asked else lost)
            return False
        self._pending.fail_all(lost, messages=False)
        bye = lost.bye
        message = str(lost)
        after = bye.after if bye is not None else None
        while True:
            wait = self._backoff.next_wait(after)
            after = None
            self.last_loss = ConnectionLost(f"not connected: {message}", bye)
            self._inbox.put(Lost(message=message, wait=wait, bye=bye))
            if self._stopped.wait(wait):
                self._finish(lost)
                return False
            try:
                self._open_connection()
            except Refused as refused:
                if refused.code not in _RETRYABLE_REFUSALS:
                    self._finish(refused)
                    return False
                message, bye, after = str(refused), None, refused.retry_after
                if refused.code is ErrorCode.NAME_TAKEN and after is not None:
                    after = min(after, MAX_WAIT_S)  # its holder may leave before
            except ConnectionLost as again:
                if again.bye is not None and again.bye.reason in NO_RECONNECT_REASONS:
                    self._finish(again)
                    return False
                message, bye = str(again), again.bye
                after = bye.after if bye is not None else None
            except ConnectionFailed as failed:
                message, bye = str(failed), None
            except Ended:  # the client was closed during the handshake
                return False
            else:
                return True

    def _open_connection(self) -> Welcome:
        """Connect, exchange hello, and resend unacknowledged messages."""
        link = self._dial()
        returns = self._session.resume is not None or self._lost_at is not None
        try:
            welcome = self._enter(link)
            self._publish(link, welcome, returns=returns)
        except BaseException:
            if self._session.resumable and (self._end_error is not None or not returns):
                link.send(Quit())  # a welcome that comes too late must not leave the name held
            link.close()
            raise
        if self._ping_every > 0:
            link.ping_every(self._ping_every)
        self._inbox.put(welcome)
        if returns and not welcome.resumed:
            self._inbox.put(Back(seconds=self._away_s, caught_up=0, resumed=False))
        self._report_caught_up()
        return welcome

    def _enter(self, link: Link) -> Welcome:
        """Exchange hello, and find out which messages of an ended session have been stored."""
        handshake = Handshake(link, self._timeout)
        welcome = handshake.exchange_hello(self._session.hello())
        if not welcome.resumed and welcome.epoch == self._session.epoch:
            for event in stored_messages(handshake.request, self._session, self._pending.unacknowledged()):
                self._pending.acknowledge_message(event)
        self._early_events = handshake.leftover_events()
        return welcome

    def _publish(self, link: Link, welcome: Welcome, *, returns: bool) -> None:
        """Let the program use a new connection."""
        self._away_s = 0.0 if self._lost_at is None else time.monotonic() - self._lost_at
        with self._changed:
            if self._end_error is not None:
                raise self._end_error
            self._session.apply_welcome(welcome)
            if returns and welcome.resumed:
                self._start_catch_up(link)
            self._link, self._resend_queue = link, ResendQueue(link, self._pending, welcome.limits)
            self._resend_queue.send_unacknowledged()
            self._changed.notify_all()
        if self._keeper is not None:
            self._keeper.save()

    def _start_catch_up(self, link: Link) -> None:
        """Query the head of each room, and request the name that was set meanwhile."""
        self._catch_up = CatchUp(self._session, self._pending.new_ref)
        for query in self._catch_up.queries:
            link.send(query)
        requested = self._session.pop_requested_name()
        if requested is not None:
            link.send(Rename(username=requested))

    def _finish(self, error: ChatError) -> None:
        with self._changed:
            if self._end_error is None:
                self._end_error = error
            error = self._end_error
            self._changed.notify_all()
        self._pending.fail_all(error, messages=True)
        self._inbox.put_end(error)
