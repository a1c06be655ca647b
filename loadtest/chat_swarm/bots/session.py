"""A bot's session: `hello` and resume, pings, and the timing and audit of everything received.

All methods run in the event loop and MUST NOT block.

The path of a delivery, the hottest of the swarm: `EventLoop.run_once` → `BotConnection._receive` →
`BotSession.on_lines` → `FrameCache.decode` (a dict access for all receivers but one) →
`BotSession._take_message_run`, which checks the position and appends four timestamps.
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
from chat_swarm.bots.frame_cache import MessageRun, ReceivedMessage, received_message
from chat_swarm.bots.lifecycle import BotLifecycle
from chat_swarm.bots.schedule import Schedule, period_of, phase_of

_PING_FRAME: Final = encode(Ping())
_CATCH_UP_WINDOW_NS: Final = 30 * 10**9
"""For this long after a resume, a reported gap is explained by the absence; later it is a fault."""
_TIMING_ERROR_NS: Final = 1_000_000
"""A receive time is used if it cannot be wrong by more than this, or a twentieth of the latency."""


class BotSession(BotLifecycle):
    """A bot with a session; the base of all profiles. Hooks `on_…` are overridden by them."""

    __slots__ = (
        "_epoch",
        "_ping_schedule",
        "_ping_sent_ns",
        "_resume_secret",
        "id",
        "live_since_ns",
        "random",
        "receivers",
    )

    excused = False
    """Whether it reads slowly on purpose, so that neither a gap nor an unfinished room is a fault."""
    timed = True
    """Whether its receive times measure the server's latency."""

    def __init__(self, process: BotProcess) -> None:
        super().__init__(process)
        self.receivers: dict[str, Receiver] = {}
        self.random = process.random
        self.live_since_ns = 0
        """Time of the last resume: messages sent before are catch-up, not deliveries."""
        self.id = ""
        """The public id of its session."""
        self._resume_secret: str | None = None
        self._epoch = ""
        self._ping_schedule: Schedule | None = None
        self._ping_sent_ns = 0

    # Hooks of the profiles.

    def rooms_to_join(self) -> list[str]:
        """Return the public rooms to join with `hello`."""
        return [self.process.room_of(self.slot)]

    def on_session_ready(self) -> None:
        """Start to send, or continue, after a `welcome`."""

    def on_opened(self, event: Opened) -> None:
        """Handle an opened conversation."""

    def on_resumed(self) -> None:
        """Send unacknowledged messages again: the session was resumed."""

    def on_own_messages(self, message_run: MessageRun, received_ns: int, *, exact: bool) -> None:
        """Handle a run of messages that contains own messages."""

    def on_own_message(self, room: str, message: ReceivedMessage, received_ns: int, *, exact: bool) -> None:
        """Handle an own message: it is acknowledged."""

    def is_expected_error(self, event: Error) -> bool:  # noqa: ARG002  overridden where one is expected
        """Return whether this error is part of the profile's normal operation."""
        return False

    def on_refused(self, event: Error, counter: int) -> None:
        """Handle the server's error for message `counter`."""

    # Callbacks of the connection.

    def on_connected(self) -> None:
        """Send `hello`, with a resume if there was a session."""
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
        """Decode and handle whole lines; see `ConnectionOwner.on_lines`."""
        process = self.process
        counts = process.recorder.counts
        counts["received_bytes"] += len(data)
        try:
            message_run, items = process.frame_cache.decode(data)
        except ValueError as error:
            process.count_error("bad_frame_from_server")
            process.warn(str(error))
            if self.connection is not None:
                self.connection.close()
            self.on_lost("bad frame")
            return
        if message_run is not None:
            self._take_message_run(message_run, received_ns, seen_ns, exact=exact)
            return
        last = len(items) - 1
        final, connection = items[last], self.connection
        if isinstance(final, Bye):  # first: its delay applies whichever item ends the connection
            self._handle_event(final, received_ns, seen_ns, exact=False)
        for place, item in enumerate(items):
            if isinstance(item, MessageRun):
                self._take_message_run(item, received_ns, seen_ns, exact=exact and place == last)
            elif self.connection is connection and not isinstance(
                item, Bye
            ):  # else it belongs to an earlier connection
                self._handle_event(item, received_ns, seen_ns, exact=exact and place == last)

    def _take_message_run(
        self, message_run: MessageRun, received_ns: int, seen_ns: int, *, exact: bool
    ) -> None:
        receiver = self.receivers.get(message_run.room)
        if receiver is None:
            self.process.count_error("message_of_no_room_of_ours")
            self.process.audit.count_stray(message_run.room, self.name, message_run.first, message_run.last)
            return
        if message_run.uncompared:
            equal = self.process.audit.compare(self.name, message_run.room, message_run.messages)
            message_run.uncompared = not equal
        if message_run.first == receiver.position + 1:
            receiver.position = message_run.last
        else:
            self.process.audit.observe_out_of_sequence(receiver, message_run.first, message_run.last)
        recorder = self.process.recorder
        recorder.counts["delivered"] += message_run.count
        only = message_run.single
        if only is not None and exact and self.timed and (sent_ns := only.sent_ns) > self.live_since_ns:
            recorder.received_ns.append(received_ns)
            recorder.seen_ns.append(seen_ns)
            recorder.sent_ns.append(sent_ns)
            recorder.planned_ns.append(only.planned_ns)
            if received_ns - sent_ns > recorder.slowest_ns:
                recorder.note_slowest(received_ns - sent_ns, self.name, message_run.room, only.seq)
        else:
            self._time_message_run(message_run, received_ns, seen_ns, exact=exact)
        if self.name in message_run.senders:
            self.on_own_messages(message_run, received_ns, exact=exact)

    def _time_message_run(
        self, message_run: MessageRun, received_ns: int, seen_ns: int, *, exact: bool
    ) -> None:
        """Time messages for which only an interval of receive times is known.

        One read has one kernel timestamp, that of its last bytes. Every message in it arrived after the
        previous poll and after it was sent. If that interval is short enough, the timestamp is used for all
        of them; else the bot was late, and they are not timed. But a message that was held up before it was
        sent, by longer than the interval, is still timed from its planned time: to omit just these would be
        coordinated omission.
        """
        recorder = self.process.recorder
        polled_ns = self.process.loop.previous_poll_ns
        last = message_run.messages[-1] if exact else None
        for message in message_run.messages:
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
                if received_ns - sent > recorder.slowest_ns:
                    recorder.note_slowest(received_ns - sent, self.name, message_run.room, message.seq)

    def is_timing_exact(self, sent_ns: int, received_ns: int, since_ns: int = 0) -> bool:
        """Return whether a read's timestamp is precise enough for the answer to a frame sent at `sent_ns`.

        The tolerance is relative to the latency since `since_ns` (0: since `sent_ns`).
        """
        error_ns = received_ns - max(sent_ns, self.process.loop.previous_poll_ns)
        return error_ns <= max(_TIMING_ERROR_NS, (received_ns - (since_ns or sent_ns)) // 20)

    def was_held_up(self, planned_ns: int, sent_ns: int, received_ns: int) -> bool:
        """Return whether a message was sent late by more than the uncertainty of its answer's time."""
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
            case MessageEvent():  # `again`: a message sent twice is stored
                self._take_again(event, received_ns, exact=exact)
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
                pass  # presence and lists are not measured

    def _take_again(self, event: MessageEvent, received_ns: int, *, exact: bool) -> None:
        """Handle the answer to a message that was sent twice: the fields are those of the original event."""
        if event.room not in self.receivers:
            self.process.audit.count_stray(event.room, self.name, event.seq, event.seq)
            return
        message = received_message(self.process.run_id, event)
        self.process.audit.compare(self.name, event.room, (message,))
        self.on_own_message(event.room, message, received_ns, exact=exact)

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
        self.id, self._resume_secret, self._epoch = event.id, event.session, event.epoch
        for state in event.rooms:
            self._track_room(state.room, state.seq)
        if event.resumed:
            self.on_resumed()
        self._start_pings()
        self.on_session_ready()

    def drop_session_state(self) -> None:
        """Drop the state of a session that could not be resumed."""
        self.unfollow_rooms()

    def unfollow_rooms(self) -> None:
        """End the audit of all rooms of this bot; what it got there is checked."""
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
            # `hello` refused. A taken name is not a fault: the slot's previous session is still being closed.
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

    # Sending.

    def send_quit(self) -> None:
        """Send `quit`."""
        self.send_frame(encode(Quit()))

    def has_unread(self) -> bool:
        """Return whether the server's bytes have arrived and wait for the bot."""
        return self.connection is not None and self.connection.has_unread()

    def report_unanswered(self) -> None:
        """Report to the audit that what the bot lacks may have arrived."""
        if self.has_unread():
            for receiver in self.receivers.values():
                receiver.unread = True

    def on_shut_down(self) -> None:
        """End the audit of all rooms."""
        self.unfollow_rooms()

    def send_frame(self, data: bytes) -> None:
        """Send a frame if there is a connection."""
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
        # No second ping while one is unanswered: the late answer is timed from its own start.
        if not self._ping_sent_ns:
            self._ping_sent_ns = time.time_ns()
            self.process.count("pings")
            self.send_frame(_PING_FRAME)
        self._ping_schedule.advance()
        self.process.loop.call_at(
            max(self._ping_schedule.next_ns, time.monotonic_ns()), lambda: self._send_ping(generation)
        )
