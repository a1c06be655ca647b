"""What every bot does with its connection: greet, keep in touch, take what comes and time it.

Knows frames and moments. Must not know Locust, nor what a bot says (bots/sender.py). All methods run in the
reactor's turn and MUST NOT block.

The path of a delivery, the hottest of the swarm: `Reactor.turn` → `Wire._receive` → `Bot.read` →
`Frames.read` (a dict access for all but one receiver) → `Bot._take`: the position is checked, four appends.
"""

import time
from typing import Final

from chat_protocol.commands import Hello, Ping, Pong, Quit, Resume
from chat_protocol.dialects.ndjson import encode
from chat_protocol.errors import ErrorCode
from chat_protocol.events import (
    Bye,
    Error,
    Event,
    Gap,
    Joined,
    MessageEvent,
    Opened,
    PingEvent,
    PongEvent,
    Welcome,
)
from chat_swarm.audit.process_audit import Receiver
from chat_swarm.bots.bot_process import Engine
from chat_swarm.bots.frame_cache import Run
from chat_swarm.bots.lifecycle import Lifeline
from chat_swarm.bots.schedule import Schedule, period_of, phase_of

_PING: Final = encode(Ping())
_CATCHING_UP_NS: Final = 30 * 10**9
"""How long after it has come back a bot may be told of a gap in what it missed; later it is a fault."""
_SURE_NS: Final = 1_000_000
"""A moment is known if it cannot be wrong by more than this, or a twentieth of the latency."""


class Bot(Lifeline):
    """A user of the server, as far as all kinds are alike."""

    __slots__ = (
        "_epoch",
        "_ping_sent_ns",
        "_pings",
        "_secret",
        "live_since_ns",
        "random",
        "receivers",
    )

    excused = False
    """Whether it reads so badly on purpose that neither a gap nor a short tail is a fault."""
    timed = True
    """Whether what it receives says something of the server's latency."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.receivers: dict[str, Receiver] = {}
        self.random = engine.random
        self.live_since_ns = 0
        """What was sent before that was sent while it was away."""
        self._secret: str | None = None
        self._epoch = ""
        self._pings: Schedule | None = None
        self._ping_sent_ns = 0

    # What a kind of bot says.

    def rooms(self) -> list[str]:
        """Return the public rooms that it asks for."""
        return [self.engine.room_of(self.seat)]

    def ready(self) -> None:
        """Begin, or go on: the session stands."""

    def opened(self, event: Opened) -> None:
        """Take note of a conversation."""

    def resumed(self) -> None:
        """Make good what a cut has broken off: the session was taken up again."""

    def echoes(self, run: Run, received_ns: int, *, exact: bool) -> None:
        """Take one's own messages out of what was read."""

    def echo(self, room: str, seq: int, counter: int, received_ns: int, *, exact: bool) -> None:
        """Take one of one's own messages as acknowledged."""

    def expected(self, event: Error) -> bool:  # noqa: ARG002  for those who expect one
        """Return whether an error is part of what this kind of bot does."""
        return False

    def refusal(self, event: Error, counter: int) -> None:
        """Take a message as refused."""

    # What the connection tells.

    def connected(self) -> None:
        """Greet."""
        assert self.wire is not None
        engine = self.engine
        now = time.time_ns()
        engine.recorder.add("connect", now - self.begun_ns)
        engine.count("connects")
        resume = None
        if self._secret is not None:
            positions = {room: receiver.position for room, receiver in self.receivers.items()}
            resume = Resume(session=self._secret, epoch=self._epoch, rooms=positions)
        hello = Hello(
            username=self.name,
            rooms=self.rooms(),
            resumable=engine.plan.resumable,
            resume=resume,
            client="chat-swarm",
        )
        self.begun_ns = time.time_ns()
        self.wire.send(encode(hello))

    def read(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Take what came."""
        engine = self.engine
        counts = engine.recorder.counts
        counts["received_bytes"] += len(data)
        try:
            run, items = engine.frames.read(data)
        except ValueError as error:
            engine.error("bad_frame_from_server")
            engine.warn(str(error))
            if self.wire is not None:
                self.wire.close()
            self.lost("bad frame")
            return
        if run is not None:
            self._take(run, received_ns, seen_ns, exact=exact)
            return
        last = len(items) - 1
        final, wire = items[last], self.wire
        if isinstance(final, Bye):  # first: how long to stay away holds for whatever ends it here
            self._event(final, received_ns, seen_ns, exact=False)
        for place, item in enumerate(items):
            if isinstance(item, Run):
                self._take(item, received_ns, seen_ns, exact=exact and place == last)
            elif self.wire is wire and not isinstance(item, Bye):  # else it was of a connection that is gone
                self._event(item, received_ns, seen_ns, exact=exact and place == last)

    def _take(self, run: Run, received_ns: int, seen_ns: int, *, exact: bool) -> None:
        receiver = self.receivers.get(run.room)
        if receiver is None:
            self.engine.error("message_of_no_room_of_ours")
            return
        if run.first == receiver.position + 1:
            receiver.position = run.last
        else:
            self.engine.audit.odd(receiver, run.first, run.last)
        recorder = self.engine.recorder
        recorder.counts["delivered"] += run.count
        only = run.only
        if only is not None and exact and self.timed and only.sent_ns > self.live_since_ns:
            recorder.received.append(received_ns)
            recorder.seen.append(seen_ns)
            recorder.sent.append(only.sent_ns)
            recorder.planned.append(only.planned_ns)
        else:
            self._time(run, received_ns, seen_ns, exact=exact)
        if self.name in run.names:
            self.echoes(run, received_ns, exact=exact)

    def _time(self, run: Run, received_ns: int, seen_ns: int, *, exact: bool) -> None:
        """Time messages of which only the last byte's moment is known.

        What one read brings has one stamp, that of its last bytes. All of it came after epoll was asked the
        time before, and after it was sent; if that leaves little room, the stamp is right for all. Else the
        bot was late, and no moment is claimed. What was held up before it was sent for longer than is in
        doubt is timed from its plan all the same: to leave out just these would be coordinated omission.
        """
        recorder = self.engine.recorder
        asked = self.engine.reactor.previous_ns
        last = run.said[-1] if exact else None
        for said in run.said:
            sent = said.sent_ns
            if not sent:
                recorder.counts["foreign"] += 1
            elif not self.timed:
                recorder.counts["untimed"] += 1
            elif sent <= self.live_since_ns:
                recorder.counts["caught_up"] += 1
                recorder.add("catch_up", received_ns - sent)
            elif said is not last and (doubt := received_ns - max(sent, asked)) > max(
                _SURE_NS, (received_ns - sent) // 20
            ):
                recorder.counts["untimed"] += 1
                if sent - said.planned_ns > doubt:
                    recorder.add("delivery_response", received_ns - said.planned_ns)
            else:
                recorder.received.append(received_ns)
                recorder.seen.append(seen_ns)
                recorder.sent.append(sent)
                recorder.planned.append(said.planned_ns)

    def sure(self, sent_ns: int, received_ns: int, since_ns: int = 0) -> bool:
        """Return whether the answer to what was sent then came about when its read was stamped.

        That is so if the stamp is near enough for a latency from `since_ns` on (0: from `sent_ns`).
        """
        unsure = received_ns - max(sent_ns, self.engine.reactor.previous_ns)
        return unsure <= max(_SURE_NS, (received_ns - (since_ns or sent_ns)) // 20)

    def was_held_up(self, planned_ns: int, sent_ns: int, received_ns: int) -> bool:
        """Return whether it was sent later than planned by more than is in doubt about its answer."""
        return sent_ns - planned_ns > received_ns - max(sent_ns, self.engine.reactor.previous_ns)

    def _event(self, event: Event, received_ns: int, seen_ns: int, *, exact: bool) -> None:
        if self._closing:
            return
        match event:
            case PongEvent():
                sent = self._ping_sent_ns
                if self.timed and sent > self.live_since_ns and (exact or self.sure(sent, received_ns)):
                    self.engine.recorder.add("rtt", received_ns - sent)
                    self.engine.recorder.add("bot_lag", seen_ns - received_ns)
                self._ping_sent_ns = 0
            case PingEvent():
                self.tell(encode(Pong(id=event.id)))
            case Welcome() if not self.up:
                self._welcome(event, received_ns, exact=exact)
            case MessageEvent():  # `again`: what was sent once more is stored
                if event.ref is not None and event.ref.isdecimal():
                    self.echo(event.room, event.seq, int(event.ref), received_ns, exact=exact)
            case Joined():
                self._stand(event.room, event.seq)
            case Opened():
                self._stand(event.room, event.seq)
                self.opened(event)
            case Gap():
                if (receiver := self.receivers.get(event.room)) is not None:
                    back = received_ns - self.live_since_ns
                    receiver.excused = self.excused or back < _CATCHING_UP_NS
                    self.engine.audit.gap(receiver, event.first, event.last)
            case Error():
                self._refused(event)
            case Bye():
                self._bye(event)
            case _:
                pass  # presence and lists are taken, and say nothing that is measured

    def _welcome(self, event: Welcome, received_ns: int, *, exact: bool) -> None:
        engine = self.engine
        self.stands()
        self._ping_sent_ns = 0
        asked = self._secret is not None
        engine.count("logins")
        if exact or self.sure(self.begun_ns, received_ns):
            engine.recorder.add("login", received_ns - self.begun_ns)
        if event.resumed:
            engine.count("resumed")
            if exact or self.sure(self.begun_ns, received_ns, self.lost_ns):
                engine.recorder.add("resume", received_ns - self.lost_ns)
            self.live_since_ns = received_ns
        elif self.lost_ns:
            engine.count("not_resumed", 1 if asked else 0)
            self.forget()
        self._secret, self._epoch = event.session, event.epoch
        for state in event.rooms:
            self._stand(state.room, state.seq)
        if event.resumed:
            self.resumed()
        self._start_pings()
        self.ready()

    def forget(self) -> None:
        """Begin anew: the session that all belonged to is gone."""
        self.forget_rooms()

    def forget_rooms(self) -> None:
        """Follow no room any more; what was shown there has been checked."""
        for receiver in self.receivers.values():
            self.engine.audit.left(receiver)
        self.receivers.clear()

    def _stand(self, room: str, seq: int) -> None:
        if room not in self.receivers:
            receiver = self.engine.audit.joined(self.name, room, seq)
            receiver.excused = receiver.slow = self.excused
            self.receivers[room] = receiver

    def _refused(self, event: Error) -> None:
        engine = self.engine
        if not self.up:
            # The `hello` is refused. A taken name is no fault: who had the seat before is still being closed.
            self.wait_at_least(event.retry_after or 0.0)
            self.give_up(event.code.value, fault=event.code is not ErrorCode.NAME_TAKEN)
            return
        if self.expected(event):
            return
        engine.error(event.code.value)
        if event.ref is not None and event.ref.isdecimal():
            self.refusal(event, int(event.ref))

    def _bye(self, event: Bye) -> None:
        self.engine.count("byes")
        self.engine.error(f"bye_{event.reason.value}")
        if event.after:
            self.wait_at_least(event.after)

    # Keeping in touch.

    def farewell(self) -> None:
        """Leave for good."""
        self.tell(encode(Quit()))

    def ended(self) -> None:
        """Follow no room any more."""
        self.forget_rooms()

    def tell(self, data: bytes) -> None:
        """Send a frame, if there is anywhere to send it."""
        if self.wire is not None:
            self.wire.send(data)

    def _start_pings(self) -> None:
        interval = self.engine.plan.ping_interval
        if interval > 0:
            serial = self.serial
            self._pings = Schedule(time.monotonic_ns(), period_of(1 / interval), phase_of(self.seat))
            self.engine.reactor.at(self._pings.next_ns, lambda: self._ping(serial))

    def _ping(self, serial: int) -> None:
        if serial != self.serial or not self.up or self._pings is None:
            return
        # One that is unanswered when the next is due is not overtaken: its answer is timed from its start.
        if not self._ping_sent_ns:
            self._ping_sent_ns = time.time_ns()
            self.engine.count("pings")
            self.tell(_PING)
        self._pings.advance()
        self.engine.reactor.at(max(self._pings.next_ns, time.monotonic_ns()), lambda: self._ping(serial))
