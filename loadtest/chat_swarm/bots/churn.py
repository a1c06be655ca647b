"""The bot that comes and goes, on the client library that people use: it sees what a program would see.

Knows chat_client, and how the audit follows a receiver. Must not know Locust. It lives in a greenlet of its
own and may block there: chat_client's sockets and threads must have been patched by gevent (Locust does).
"""

import time
from typing import Final

import gevent
from gevent.event import Event as Flag

from chat_client import Client
from chat_client.address import Address
from chat_client.errors import ChatError, ConnectionLost, Ended, Refused, TimedOut
from chat_protocol.commands import Resume
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Event, Gap, MessageEvent, Welcome
from chat_swarm.audit.process_audit import Receiver
from chat_swarm.bots import payload
from chat_swarm.bots.bot_process import NEW, Engine
from chat_swarm.bots.slots import ROOM, Waiting

_FIRST_RETRY: Final = 0.5
_LAST_RETRY: Final = 10.0
_LOOK: Final = 1.0


class Churn:
    """Comes, says something, stays a while, leaves or is cut, stays away, comes back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = ""
        self.up = False
        self._seat = -1
        self._room = ""
        self._waiting: Waiting | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._client: Client | None = None
        self._resume: Resume | None = None
        self._receiver: Receiver | None = None
        self._counter = 0
        self._visits = 0
        self._came_ns = 0  # what was sent before that is caught up
        self._open: dict[int, int] = {}  # counter → when it was sent, ns, of what is not acknowledged
        self._stop = Flag()
        self._cut = False  # by the run, so that to lose the connection is no fault of the server's
        self._begun = 0.0
        self._retry = _FIRST_RETRY

    # What the run asks of every bot.

    def begin(self) -> None:
        """Start."""
        self._begun = time.monotonic()
        self.engine.bots.add(self)
        self._waiting = self.engine.seats.wait(ROOM, self._seated)

    def end(self) -> None:
        """Stop for good."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        if self._client is not None:
            self._client.close()
        self._down()
        self._forget()
        self.engine.counters[self.name] = self._counter
        if self._seat >= 0:
            self.engine.seats.give_back(ROOM, self._seat)
            self._seat = -1
        self.engine.bots.discard(self)

    def cut(self) -> None:
        """Lose the connection, and come back."""
        if self._client is not None:
            self._cut = True
            self._client.cut()

    def retimed(self) -> None:
        """Do nothing: its pace is that of its coming and going."""

    def stopped(self) -> None:
        """Say nothing more, and come back for the end if it is away."""
        self._stop.set()

    def unacknowledged(self) -> int:
        """Return how many messages wait for their echo."""
        return len(self._open)

    def was_there(self) -> bool:
        """Return whether it has ever had a session."""
        return self._visits > 0

    def is_new(self) -> bool:
        """Return whether it is on its first way in."""
        first = self._visits == 0 and self._retry == _FIRST_RETRY
        return first and time.monotonic() < self._begun + NEW

    def reckon(self) -> None:
        """Tell the audit what was never answered."""
        if self._open and self.up:
            self.engine.audit.unanswered(self._room, self.name, len(self._open))

    # Its life.

    def _seated(self, seat: int) -> None:
        self._seat = seat
        self.name = self.engine.name_of("churn", seat)
        self._room = self.engine.room_of(seat)
        self._counter = self.engine.counters.get(self.name, 0)
        if self.engine.stopping:
            self._stop.set()
        self._greenlet = gevent.spawn(self._live)
        self._greenlet.link_exception(lambda dead: self.engine.erred(dead.exception))

    def _live(self) -> None:
        while True:
            try:
                self._visit()
                self._retry = _FIRST_RETRY
            except ChatError as error:
                if isinstance(error, ConnectionLost):
                    self._remember()
                cut, self._cut = self._cut and isinstance(error, ConnectionLost), False
                taken = isinstance(error, Refused) and error.code is ErrorCode.NAME_TAKEN
                if cut:
                    self.engine.count("cuts")
                else:
                    self.engine.error(type(error).__name__, fault=not taken)
                if not self.up and not taken:
                    self.engine.count("connect_failures")
                self._down()
                gevent.sleep(self.engine.random.uniform(0.5, 1.0) * self._retry)
                self._retry = min(2 * self._retry, _LAST_RETRY)

    def _visit(self) -> None:
        """Be there once; ChatError if the network or the server ends it."""
        engine = self.engine
        host, port = engine.address[:2]
        self._client = client = Client(
            self.name,
            Address(host, port),
            rooms=[self._room],
            resumable=True,
            resume=self._resume,
            timeout=engine.plan.connect_timeout,
            ping_every=0,
            program="chat-swarm",
        )
        began = time.time_ns()
        self._came_ns = began
        self._greeted(client.connect(), began)
        self._say(client)
        stay = engine.plan.churn_stay.draw(engine.random)
        self._read(client, time.monotonic() + stay)
        if engine.random.random() < engine.plan.churn_cut:
            self._go_by_cut(client)
        else:
            self._go_by_quit(client)
        self._stop.wait(engine.plan.churn_away.draw(engine.random))

    def _greeted(self, welcome: Welcome, began: int) -> None:
        engine = self.engine
        engine.count("connects")
        engine.count("logins")
        if welcome.resumed:
            engine.count("resumed")
            engine.recorder.add("resume", time.time_ns() - began)
        else:
            if self._resume is not None:
                engine.count("not_resumed")
            self._forget()
            seq = next((state.seq for state in welcome.rooms if state.room == self._room), 0)
            self._receiver = engine.audit.joined(self.name, self._room, seq)
            self._receiver.excused = True
        self.up = True
        self._visits += 1
        engine.connected += 1
        engine.peak_connected = max(engine.peak_connected, engine.connected)

    def _say(self, client: Client) -> None:
        if self._stop.is_set():
            return
        engine = self.engine
        self._counter += 1
        now = time.time_ns()
        text = payload.write(
            engine.run, self._counter, now, now, int(engine.plan.payload_bytes.draw(engine.random))
        )
        engine.count("sent")
        engine.count("sent_bytes", len(text))
        self._open[self._counter] = now
        client.send(text, self._room)

    def _read(self, client: Client, until: float) -> None:
        while self._stop.is_set() or time.monotonic() < until:
            left = _LOOK if self._stop.is_set() else until - time.monotonic()
            try:
                self._take(client.next_event(max(0.0, min(left, _LOOK))))
            except TimedOut:
                continue

    def _take(self, event: Event) -> None:
        receiver, engine = self._receiver, self.engine
        if receiver is None:
            return
        if isinstance(event, Gap):
            engine.audit.gap(receiver, event.first, event.last)
        if not isinstance(event, MessageEvent) or event.room != self._room:
            return
        engine.count("delivered")
        if event.seq == receiver.position + 1:
            receiver.position = event.seq
        else:
            engine.audit.odd(receiver, event.seq, event.seq)
        mark = payload.read(engine.run, event.message)
        if mark is None:
            engine.count("foreign")
            return
        if mark.sent_ns < self._came_ns:
            engine.count("caught_up")
            engine.recorder.add("catch_up", time.time_ns() - mark.sent_ns)
        else:
            engine.count("untimed")  # the library has no stamp of the kernel
        engine.audit.shown(event.room, event.seq, event.username, mark.counter)
        if event.username == self.name and self._open.pop(mark.counter, None) is not None:
            engine.count("acknowledged")
            engine.audit.acknowledged(event.room, event.seq)

    def _go_by_cut(self, client: Client) -> None:
        client.cut()
        self._drain(client)
        self.engine.count("cuts")
        self._remember()
        self._down()

    def _go_by_quit(self, client: Client) -> None:
        client.quit()
        self._drain(client)
        self._resume = None
        self._down()
        self._forget()

    def _drain(self, client: Client) -> None:
        """Take what came before the end."""
        while True:
            try:
                self._take(client.next_event(0.0))
            except (Ended, ConnectionLost, TimedOut):
                return

    def _remember(self) -> None:
        """Keep what the next visit needs to go on with this session."""
        if self._client is None or self._receiver is None:
            return
        self._drain(self._client)
        self._resume = self._client.resume
        self._client.close()
        # A new client knows nothing of what the old one had under way: it may be stored, or not.
        for counter in self._open:
            self.engine.audit.refused(self._room, self.name, counter)
        self._open.clear()

    def _down(self) -> None:
        if self.up:
            self.up = False
            self.engine.connected -= 1

    def _forget(self) -> None:
        for counter in self._open:
            self.engine.audit.refused(self._room, self.name, counter)
        self._open.clear()
        if self._receiver is not None:
            self.engine.audit.left(self._receiver)
            self._receiver = None
