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
from chat_swarm.bots.bot_process import BotProcess
from chat_swarm.bots.frame_cache import MessageRun
from chat_swarm.bots.lifecycle import BotLifecycle
from chat_swarm.bots.schedule import Schedule, period_of, phase_of

_PING_FRAME: Final = encode(Ping())
_CATCH_UP_WINDOW_NS: Final = 30 * 10**9
"""How long after it has come back a bot may be told of a gap in what it missed; later it is a fault."""
_TIMING_ERROR_NS: Final = 1_000_000
"""A moment is known if it cannot be wrong by more than this, or a twentieth of the latency."""


class BotSession(BotLifecycle):
    """A user of the server, as far as all kinds are alike."""

    __slots__ = (
        "_epoch",
        "_ping_schedule",
        "_ping_sent_ns",
        "_resume_secret",
        "live_since_ns",
        "random",
        "receivers",
    )

    excused = False
    """Whether it reads so badly on purpose that neither a gap nor a short tail is a fault."""
    timed = True
    """Whether what it receives says something of the server's latency."""

    def __init__(self, process: BotProcess) -> None:
        super().__init__(process)
        self.receivers: dict[str, Receiver] = {}
        self.random = process.random
        self.live_since_ns = 0
        """What was sent before that was sent while it was away."""
        self._resume_secret: str | None = None
        self._epoch = ""
        self._ping_schedule: Schedule | None = None
        self._ping_sent_ns = 0

    # What a kind of bot says.

    def rooms_to_join(self) -> list[str]:
        """Return the public rooms that it asks for."""
        return [self.process.room_of(self.slot)]

    def on_session_ready(self) -> None:
        """Begin, or go on: the session stands."""

    def on_opened(self, event: Opened) -> None:
        """Take note of a conversation."""

    def on_resumed(self) -> None:
        """Make good what a cut has broken off: the session was taken up again."""

    def on_own_messages(self, run: MessageRun, received_ns: int, *, exact: bool) -> None:
        """Take one's own messages out of what was read."""

    def on_own_message(self, room: str, seq: int, counter: int, received_ns: int, *, exact: bool) -> None:
        """Take one of one's own messages as acknowledged."""

    def is_expected_error(self, event: Error) -> bool:  # noqa: ARG002  for those who expect one
        """Return whether an error is part of what this kind of bot does."""
        return False

    def on_refused(self, event: Error, counter: int) -> None:
        """Take a message as refused."""

    # What the connection tells.

    def on_connected(self) -> None:
        """Greet."""
        assert self.connection is not None
        process = self.process
        now = time.time_ns()
        process.recorder.add_sample("connect", now - self.attempt_ns)
        process.count("connects")
        resume = None
        if self._resume_secret is not None:
            positions = {room: receiver.position for room, receiver in self.receivers.items()}
            resume = Resume(session=self._resume_secret, epoch=self._epoch, rooms=positions)
        hello = Hello(
            username=self.name,
            rooms=self.rooms_to_join(),
            resumable=process.plan.resumable,
            resume=resume,
            client="chat-swarm",
        )
        self.attempt_ns = time.time_ns()
        self.connection.send(encode(hello))

    def on_lines(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Take what came."""
        process = self.process
        counts = process.recorder.counts
        counts["received_bytes"] += len(data)
        try:
            run, items = process.frame_cache.decode(data)
        except ValueError as error:
            process.count_error("bad_frame_from_server")
            process.warn(str(error))
            if self.connection is not None:
                self.connection.close()
            self.on_lost("bad frame")
            return
        if run is not None:
            self._take_run(run, received_ns, seen_ns, exact=exact)
            return
        last = len(items) - 1
        final, connection = items[last], self.connection
        if isinstance(final, Bye):  # first: how long to stay away holds for whatever ends it here
            self._handle_event(final, received_ns, seen_ns, exact=False)
        for place, item in enumerate(items):
            if isinstance(item, MessageRun):
                self._take_run(item, received_ns, seen_ns, exact=exact and place == last)
            elif self.connection is connection and not isinstance(
                item, Bye
            ):  # else it was of a connection that is gone
                self._handle_event(item, received_ns, seen_ns, exact=exact and place == last)

    def _take_run(self, run: MessageRun, received_ns: int, seen_ns: int, *, exact: bool) -> None:
        receiver = self.receivers.get(run.room)
        if receiver is None:
            self.process.count_error("message_of_no_room_of_ours")
            return
        if run.first == receiver.position + 1:
            receiver.position = run.last
        else:
            self.process.audit.observe_out_of_sequence(receiver, run.first, run.last)
        recorder = self.process.recorder
        recorder.counts["delivered"] += run.count
        only = run.single
        if only is not None and exact and self.timed and only.sent_ns > self.live_since_ns:
            recorder.received_ns.append(received_ns)
            recorder.seen_ns.append(seen_ns)
            recorder.sent_ns.append(only.sent_ns)
            recorder.planned_ns.append(only.planned_ns)
        else:
            self._time_run(run, received_ns, seen_ns, exact=exact)
        if self.name in run.senders:
            self.on_own_messages(run, received_ns, exact=exact)

    def _time_run(self, run: MessageRun, received_ns: int, seen_ns: int, *, exact: bool) -> None:
        """Time messages of which only the last byte's moment is known.

        What one read brings has one stamp, that of its last bytes. All of it came after epoll was asked the
        time before, and after it was sent; if that leaves little room, the stamp is right for all. Else the
        bot was late, and no moment is claimed. What was held up before it was sent for longer than is in
        doubt is timed from its plan all the same: to leave out just these would be coordinated omission.
        """
        recorder = self.process.recorder
        polled_ns = self.process.loop.previous_poll_ns
        last = run.messages[-1] if exact else None
        for message in run.messages:
            sent = message.sent_ns
            if not sent:
                recorder.counts["foreign"] += 1
            elif not self.timed:
                recorder.counts["untimed"] += 1
            elif sent <= self.live_since_ns:
                recorder.counts["caught_up"] += 1
                recorder.add_sample("catch_up", received_ns - sent)
            elif message is not last and (doubt := received_ns - max(sent, polled_ns)) > max(
                _TIMING_ERROR_NS, (received_ns - sent) // 20
            ):
                recorder.counts["untimed"] += 1
                if sent - message.planned_ns > doubt:
                    recorder.add_sample("delivery_response", received_ns - message.planned_ns)
            else:
                recorder.received_ns.append(received_ns)
                recorder.seen_ns.append(seen_ns)
                recorder.sent_ns.append(sent)
                recorder.planned_ns.append(message.planned_ns)

    def is_timing_exact(self, sent_ns: int, received_ns: int, since_ns: int = 0) -> bool:
        """Return whether the answer to what was sent then came about when its read was stamped.

        That is so if the stamp is near enough for a latency from `since_ns` on (0: from `sent_ns`).
        """
        error_ns = received_ns - max(sent_ns, self.process.loop.previous_poll_ns)
        return error_ns <= max(_TIMING_ERROR_NS, (received_ns - (since_ns or sent_ns)) // 20)

    def was_held_up(self, planned_ns: int, sent_ns: int, received_ns: int) -> bool:
        """Return whether it was sent later than planned by more than is in doubt about its answer."""
        return sent_ns - planned_ns > received_ns - max(sent_ns, self.process.loop.previous_poll_ns)

    def _handle_event(self, event: Event, received_ns: int, seen_ns: int, *, exact: bool) -> None:
        if self._closing:
            return
        match event:
            case PongEvent():
                sent = self._ping_sent_ns
                if (
                    self.timed
                    and sent > self.live_since_ns
                    and (exact or self.is_timing_exact(sent, received_ns))
                ):
                    self.process.recorder.add_sample("rtt", received_ns - sent)
                    self.process.recorder.add_sample("bot_lag", seen_ns - received_ns)
                self._ping_sent_ns = 0
            case PingEvent():
                self.send_frame(encode(Pong(id=event.id)))
            case Welcome() if not self.up:
                self._on_welcome(event, received_ns, exact=exact)
            case MessageEvent():  # `again`: what was sent once more is stored
                if event.ref is not None and event.ref.isdecimal():
                    self.on_own_message(event.room, event.seq, int(event.ref), received_ns, exact=exact)
            case Joined():
                self._track_room(event.room, event.seq)
            case Opened():
                self._track_room(event.room, event.seq)
                self.on_opened(event)
            case Gap():
                if (receiver := self.receivers.get(event.room)) is not None:
                    back = received_ns - self.live_since_ns
                    receiver.excused = self.excused or back < _CATCH_UP_WINDOW_NS
                    self.process.audit.observe_gap(receiver, event.first, event.last)
            case Error():
                self._on_error(event)
            case Bye():
                self._on_bye(event)
            case _:
                pass  # presence and lists are taken, and say nothing that is measured

    def _on_welcome(self, event: Welcome, received_ns: int, *, exact: bool) -> None:
        process = self.process
        self.mark_session_up()
        self._ping_sent_ns = 0
        asked = self._resume_secret is not None
        process.count("logins")
        if exact or self.is_timing_exact(self.attempt_ns, received_ns):
            process.recorder.add_sample("login", received_ns - self.attempt_ns)
        if event.resumed:
            process.count("resumed")
            if exact or self.is_timing_exact(self.attempt_ns, received_ns, self.lost_ns):
                process.recorder.add_sample("resume", received_ns - self.lost_ns)
            self.live_since_ns = received_ns
        elif self.lost_ns:
            process.count("not_resumed", 1 if asked else 0)
            self.drop_session_state()
        self._resume_secret, self._epoch = event.session, event.epoch
        for state in event.rooms:
            self._track_room(state.room, state.seq)
        if event.resumed:
            self.on_resumed()
        self._start_pings()
        self.on_session_ready()

    def drop_session_state(self) -> None:
        """Begin anew: the session that all belonged to is gone."""
        self.unfollow_rooms()

    def unfollow_rooms(self) -> None:
        """Follow no room any more; what was shown there has been checked."""
        for receiver in self.receivers.values():
            self.process.audit.unfollow(receiver)
        self.receivers.clear()

    def _track_room(self, room: str, seq: int) -> None:
        if room not in self.receivers:
            receiver = self.process.audit.follow(self.name, room, seq)
            receiver.excused = receiver.slow = self.excused
            self.receivers[room] = receiver

    def _on_error(self, event: Error) -> None:
        process = self.process
        if not self.up:
            # The `hello` is refused. A taken name is no fault: who had the seat before is still being closed.
            self.delay_reconnect(event.retry_after or 0.0)
            self.abandon_attempt(event.code.value, fault=event.code is not ErrorCode.NAME_TAKEN)
            return
        if self.is_expected_error(event):
            return
        process.count_error(event.code.value)
        if event.ref is not None and event.ref.isdecimal():
            self.on_refused(event, int(event.ref))

    def _on_bye(self, event: Bye) -> None:
        self.process.count("byes")
        self.process.count_error(f"bye_{event.reason.value}")
        if event.after:
            self.delay_reconnect(event.after)

    # Keeping in touch.

    def send_quit(self) -> None:
        """Leave for good."""
        self.send_frame(encode(Quit()))

    def on_shut_down(self) -> None:
        """Follow no room any more."""
        self.unfollow_rooms()

    def send_frame(self, data: bytes) -> None:
        """Send a frame, if there is anywhere to send it."""
        if self.connection is not None:
            self.connection.send(data)

    def _start_pings(self) -> None:
        interval = self.process.plan.ping_interval
        if interval > 0:
            generation = self.generation
            self._ping_schedule = Schedule(time.monotonic_ns(), period_of(1 / interval), phase_of(self.slot))
            self.process.loop.call_at(self._ping_schedule.next_ns, lambda: self._send_ping(generation))

    def _send_ping(self, generation: int) -> None:
        if generation != self.generation or not self.up or self._ping_schedule is None:
            return
        # One that is unanswered when the next is due is not overtaken: its answer is timed from its start.
        if not self._ping_sent_ns:
            self._ping_sent_ns = time.time_ns()
            self.process.count("pings")
            self.send_frame(_PING_FRAME)
        self._ping_schedule.advance()
        self.process.loop.call_at(
            max(self._ping_schedule.next_ns, time.monotonic_ns()), lambda: self._send_ping(generation)
        )
