"""A bot that sends messages by an absolute schedule, and tracks them until they are acknowledged or refused.

The planned time of a message never changes because the server, or the bot, was late: a message that could not
be sent then is sent later and timed from then (no coordinated omission).
"""

import time
from typing import Final

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error
from chat_swarm.bots import payload
from chat_swarm.bots.bot_process import BotProcess
from chat_swarm.bots.frame_cache import MessageRun, ReceivedMessage
from chat_swarm.bots.schedule import Schedule, period_of, phase_of
from chat_swarm.bots.session import BotSession

_BURST_MESSAGES: Final = 100
"""Messages that a late bot sends in one iteration of the event loop."""
_HELD_UP_NS: Final = 50_000_000
"""A send time later than this was held up; a smaller delay is within one iteration of the loop."""
_UNAVAILABLE_RETRY_S: Final = 1.0
"""Delay before a message is sent again that the server could not store, if it names none."""


class PendingMessage:
    """A message without an answer yet; times in ns since the epoch."""

    __slots__ = ("counter", "planned_ns", "sent_ns", "size", "text")

    def __init__(self, counter: int, planned_ns: int, sent_ns: int, size: int) -> None:
        self.counter = counter
        self.planned_ns = planned_ns
        self.sent_ns = sent_ns
        self.size = size
        self.text = ""
        """The text, once it is encoded."""


class Sender(BotSession):
    """A bot with a schedule. The profile gives `rate` and `destination_field`; `can_send` may delay."""

    __slots__ = ("_held_up", "_schedule", "_timer_ns", "counter", "pending")

    def __init__(self, process: BotProcess) -> None:
        super().__init__(process)
        self.pending: dict[int, PendingMessage] = {}
        self.counter = 0
        self._schedule: Schedule | None = None
        self._timer_ns = 0  # due time of the timer that applies; 0: none
        self._held_up = False  # a due message could not be sent, for a reason outside the bot

    @property
    def rate(self) -> float:
        """Messages per second."""
        raise NotImplementedError

    @property
    def destination_field(self) -> str:
        """The JSON member of a `message` command that names its destination."""
        raise NotImplementedError

    @property
    def target_room(self) -> str:
        """The room in which its messages appear."""
        raise NotImplementedError

    def can_send(self) -> bool:
        """Return whether a message may be sent now; if not, the profile calls `send_due` when it may."""
        return True

    # The schedule.

    def start_sending(self) -> None:
        """Start the schedule, or continue after a reconnect."""
        if self._schedule is None:
            rate = self.rate * self.process.rate_factor
            if rate <= 0:
                return
            self._schedule = Schedule(time.monotonic_ns(), period_of(rate), phase_of(self.slot))
        self.send_due()

    def apply_rate(self) -> None:
        rate = self.rate * self.process.rate_factor
        if self._schedule is not None and rate > 0:
            self._schedule.change_period(time.monotonic_ns(), period_of(rate))
        elif self._schedule is not None:
            self._schedule = None
        elif self.up:
            self.start_sending()
        self.send_due()

    def exclude_pause(self, since_ns: int) -> None:
        """Move the schedule by the time since `since_ns`, an intended pause in which nothing was planned."""
        if self._schedule is not None:
            self._schedule.delay(time.monotonic_ns() - since_ns)

    def send_due(self) -> None:
        """Send all due messages, and set a timer for the next; unsent ones keep their planned time."""
        schedule = self._schedule
        if schedule is None or self.process.sending_stopped:
            return
        if not self.up:
            self._held_up = True
            return
        metric = "held_up" if self._held_up else "send_lag"
        for _ in range(_BURST_MESSAGES):
            if schedule.next_ns > time.monotonic_ns():
                self._held_up = False
                break
            if self.connection is None or self.connection.blocked or not self.can_send():
                self._held_up = True
                return  # `on_writable`, an acknowledgement or the next `welcome` calls again
            self._send_message(schedule.next_ns, metric)
            schedule.advance()
        self._arm_timer(schedule.next_ns)

    def _arm_timer(self, due_ns: int) -> None:
        if not self._timer_ns or due_ns < self._timer_ns:
            self._timer_ns = due_ns
            self.process.loop.call_at(due_ns, self._on_timer)

    def _on_timer(self) -> None:
        # Timers cannot be cancelled: one that was replaced by an earlier one finds another due time.
        if self._timer_ns and time.monotonic_ns() >= self._timer_ns:
            self._timer_ns = 0
            self.send_due()

    def _send_message(self, planned_ns: int, metric: str) -> None:
        process = self.process
        size = int(process.plan.payload_bytes.draw(self.random))
        self.counter += 1
        now = time.time_ns()
        pending = PendingMessage(self.counter, planned_ns + process.wall_offset_ns, now, size)
        self.pending[self.counter] = pending
        frame = self._encode_message(pending)
        recorder = process.recorder
        recorder.counts["sent"] += 1
        recorder.counts["sent_bytes"] += len(frame)
        recorder.add_sample(metric, now - pending.planned_ns)
        self.send_frame(frame)

    def _encode_message(self, pending: PendingMessage) -> bytes:
        """Return the frame, without a JSON encoder: names and header are ASCII and need no escapes."""
        text = pending.text = payload.build_text(
            self.process.run_id, pending.counter, pending.planned_ns, pending.sent_ns, pending.size
        )
        return (
            f'{{"type":"message",{self.destination_field},"ref":"{pending.counter}","message":"{text}"}}\n'
        ).encode()

    def stop_sending(self) -> None:
        # Messages held up until the end are counted: they belong to the stall.
        schedule = self._schedule
        late = -1 if schedule is None else time.monotonic_ns() - schedule.next_ns
        if schedule is not None and late > _HELD_UP_NS:
            self.process.count("unsent", 1 + late // schedule.period_ns)

    # Answers.

    def on_writable(self) -> None:
        self.send_due()

    def on_slot(self) -> None:
        # The slot's previous bot had the same name: counters of a sender never restart in a run.
        self.counter = self.process.last_counters.get(self.name, 0)

    def on_shut_down(self) -> None:
        self.process.last_counters[self.name] = self.counter
        self._abandon_pending()
        super().on_shut_down()

    def on_own_messages(self, message_run: MessageRun, received_ns: int, *, exact: bool) -> None:
        last = message_run.messages[-1] if exact else None
        for message in message_run.messages:
            if message.sender == self.name:
                self.on_own_message(message_run.room, message, received_ns, exact=message is last)

    def on_own_message(self, room: str, message: ReceivedMessage, received_ns: int, *, exact: bool) -> None:
        ref = message.event.ref
        pending = self.pending.pop(int(ref) if ref and ref.isdecimal() else message.counter, None)
        if pending is None:
            return  # it was sent twice because of a cut, and stored the first time
        if message.event.message != pending.text or message.event.sender != self.id:
            self._report_altered(room, message, pending)
        seq = message.seq
        recorder = self.process.recorder
        recorder.counts["acknowledged"] += 1
        self.process.audit.note_durable(room, seq)
        sent = pending.sent_ns
        if sent > self.live_since_ns and (exact or self.is_timing_exact(sent, received_ns)):
            recorder.ack_received_ns.append(received_ns)
            recorder.ack_sent_ns.append(sent)
            recorder.ack_planned_ns.append(pending.planned_ns)
        elif sent > self.live_since_ns and self.was_held_up(pending.planned_ns, sent, received_ns):
            recorder.add_sample("ack_response", received_ns - pending.planned_ns)
        self.on_answered()

    def _report_altered(self, room: str, message: ReceivedMessage, pending: PendingMessage) -> None:
        what = f"its message {pending.counter} under seq {message.seq}"
        if message.event.sender != self.id:
            detail = f"{self.name}, which is {self.id}, was shown {what} as of {message.event.sender!r}"
        else:
            detail = f"{self.name} was shown {what} with another text than it had sent"
        self.process.audit.count_altered(room, self.name, message.seq, detail)

    def on_refused(self, event: Error, counter: int) -> None:
        process = self.process
        if counter not in self.pending:
            return
        # A message may be stored even after an error, behind later ones: the audit must not expect it.
        process.audit.excuse_counter(self.target_room, self.name, counter)
        if event.code is ErrorCode.UNAVAILABLE:
            # The outcome is unknown: to repeat the same ref is safe and never stores a second message.
            process.loop.call_later(event.retry_after or _UNAVAILABLE_RETRY_S, lambda: self._resend(counter))
            return
        del self.pending[counter]
        process.count("refused")
        self.on_answered()

    def on_answered(self) -> None:
        """Continue after an answer: one message fewer is unacknowledged."""

    def on_resumed(self) -> None:
        for counter in sorted(self.pending):
            self._resend(counter)

    def _resend(self, counter: int) -> None:
        pending = self.pending.get(counter)
        if pending is not None and self.up:
            self.send_frame(self._encode_message(pending))

    def drop_session_state(self) -> None:
        # Their session is gone, so nothing can show any more whether they were stored.
        self._abandon_pending()
        super().drop_session_state()

    def _abandon_pending(self) -> None:
        if not self.process.sending_stopped:
            self.process.count("abandoned", len(self.pending))
        for counter in self.pending:
            self.process.audit.excuse_counter(self.target_room, self.name, counter)
        self.pending.clear()

    def count_unacknowledged(self) -> int:
        return len(self.pending)

    def report_unanswered(self) -> None:
        super().report_unanswered()
        if self.pending and self.up and not self.has_unread():
            self.process.audit.count_unanswered(self.target_room, self.name, len(self.pending))
