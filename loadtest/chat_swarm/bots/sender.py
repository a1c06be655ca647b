"""A bot that says things, by an absolute schedule.

Knows messages that are planned, sent, acknowledged or refused. Must not know when to start: its kind says so.

A slot's planned moment never changes because the server, or the bot, was late: what could not be said then is
said later and timed from then (no coordinated omission).
"""

import time
from typing import Final

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error
from chat_swarm.bots import payload
from chat_swarm.bots.bot_process import Engine
from chat_swarm.bots.frame_cache import Run
from chat_swarm.bots.schedule import Schedule, period_of, phase_of
from chat_swarm.bots.session import Bot

_BURST: Final = 100
"""Messages that a bot that is late sends in one turn of the loop."""
_HELD_UP_NS: Final = 50_000_000
"""A slot that is later than this was held up; any other is only in this turn of the loop."""
_UNAVAILABLE_RETRY: Final = 1.0
"""Seconds before a message goes again that the server could not store."""


class Pending:
    """A message that is not acknowledged yet; moments in ns since the epoch."""

    __slots__ = ("counter", "planned_ns", "sent_ns", "size")

    def __init__(self, counter: int, planned_ns: int, sent_ns: int, size: int) -> None:
        self.counter = counter
        self.planned_ns = planned_ns
        self.sent_ns = sent_ns
        self.size = size


class Talker(Bot):
    """A bot with a schedule. Its kind gives `rate` and `destination`, and may refuse a slot in `free`."""

    __slots__ = ("_armed_ns", "_held_up", "_schedule", "counter", "pending")

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.pending: dict[int, Pending] = {}
        self.counter = 0
        self._schedule: Schedule | None = None
        self._armed_ns = 0  # when the timer that counts will ring; 0: none will
        self._held_up = False  # whether a slot that was due could not be used, and not by the bot's own fault

    @property
    def rate(self) -> float:
        """Messages a second that it is to say."""
        raise NotImplementedError

    @property
    def destination(self) -> str:
        """The part of a message's frame that says where it goes."""
        raise NotImplementedError

    @property
    def speaks_in(self) -> str:
        """The room in which its messages appear."""
        raise NotImplementedError

    def free(self) -> bool:
        """Return whether one more message may be said now; if not, `say_on` is called when it may."""
        return True

    # The schedule.

    def start_saying(self) -> None:
        """Say something at each slot from now on; or go on with it after a pause."""
        if self._schedule is None:
            rate = self.rate * self.engine.rate_factor
            if rate <= 0:
                return
            self._schedule = Schedule(time.monotonic_ns(), period_of(rate), phase_of(self.seat))
        self.say_on()

    def retimed(self) -> None:
        rate = self.rate * self.engine.rate_factor
        if self._schedule is not None and rate > 0:
            self._schedule.retime(time.monotonic_ns(), period_of(rate))
        elif self._schedule is not None:
            self._schedule = None
        elif self.up:
            self.start_saying()
        self.say_on()

    def pause(self, since_ns: int) -> None:
        """Let the time since then be none in which anything was planned: the bot wanted to say nothing."""
        if self._schedule is not None:
            self._schedule.delay(time.monotonic_ns() - since_ns)

    def say_on(self) -> None:
        """Say all that is due, and wait for the next slot; what cannot be said now keeps its moment."""
        schedule = self._schedule
        if schedule is None or self.engine.stopping:
            return
        if not self.up:
            self._held_up = True
            return
        metric = "held_up" if self._held_up else "send_lag"
        for _ in range(_BURST):
            if schedule.next_ns > time.monotonic_ns():
                self._held_up = False
                break
            if self.wire is None or self.wire.blocked or not self.free():
                self._held_up = True
                return  # `writable`, an acknowledgement or the next `welcome` calls again
            self._say_something(schedule.next_ns, metric)
            schedule.advance()
        self._arm(schedule.next_ns)

    def _arm(self, moment_ns: int) -> None:
        if not self._armed_ns or moment_ns < self._armed_ns:
            self._armed_ns = moment_ns
            self.engine.reactor.at(moment_ns, self._rung)

    def _rung(self) -> None:
        # Timers are not taken back: one that was armed before another, earlier one finds that one's moment.
        if self._armed_ns and time.monotonic_ns() >= self._armed_ns:
            self._armed_ns = 0
            self.say_on()

    def _say_something(self, planned_ns: int, metric: str) -> None:
        engine = self.engine
        size = int(engine.plan.payload_bytes.draw(self.random))
        self.counter += 1
        now = time.time_ns()
        pending = Pending(self.counter, planned_ns + engine.offset_ns, now, size)
        self.pending[self.counter] = pending
        frame = self._frame(pending)
        recorder = engine.recorder
        recorder.counts["sent"] += 1
        recorder.counts["sent_bytes"] += len(frame)
        recorder.add(metric, now - pending.planned_ns)
        self.tell(frame)

    def _frame(self, pending: Pending) -> bytes:
        """Return the frame: names and stamps are ASCII and hold nothing that JSON would escape."""
        text = payload.write(
            self.engine.run, pending.counter, pending.planned_ns, pending.sent_ns, pending.size
        )
        return (
            f'{{"type":"message",{self.destination},"ref":"{pending.counter}","message":"{text}"}}\n'.encode()
        )

    def stopped(self) -> None:
        # Slots that were held up until the end must not vanish: they are the stall's.
        schedule = self._schedule
        late = -1 if schedule is None else time.monotonic_ns() - schedule.next_ns
        if schedule is not None and late > _HELD_UP_NS:
            self.engine.count("unsent", 1 + late // schedule.period_ns)

    # What became of it.

    def writable(self) -> None:
        self.say_on()

    def seated(self) -> None:
        # Who had the seat before had the name, too: one sender's counters never begin anew in a run.
        self.counter = self.engine.counters.get(self.name, 0)

    def ended(self) -> None:
        self.engine.counters[self.name] = self.counter
        self._let_go()
        super().ended()

    def echoes(self, run: Run, received_ns: int, *, exact: bool) -> None:
        last = run.said[-1] if exact else None
        for said in run.said:
            if said.name == self.name:
                self.echo(run.room, said.seq, said.counter, received_ns, exact=said is last)

    def echo(self, room: str, seq: int, counter: int, received_ns: int, *, exact: bool) -> None:
        pending = self.pending.pop(counter, None)
        if pending is None:
            return  # sent once more over a cut, and it was stored the first time
        recorder = self.engine.recorder
        recorder.counts["acknowledged"] += 1
        self.engine.audit.acknowledged(room, seq)
        sent = pending.sent_ns
        if sent > self.live_since_ns and (exact or self.sure(sent, received_ns)):
            recorder.ack_received.append(received_ns)
            recorder.ack_sent.append(sent)
            recorder.ack_planned.append(pending.planned_ns)
        elif sent > self.live_since_ns and self.was_held_up(pending.planned_ns, sent, received_ns):
            recorder.add("ack_response", received_ns - pending.planned_ns)
        self.answered()

    def refusal(self, event: Error, counter: int) -> None:
        engine = self.engine
        if counter not in self.pending:
            return
        # An error may also come for what is stored later, behind later ones: the audit must not expect it.
        engine.audit.refused(self.speaks_in, self.name, counter)
        if event.code is ErrorCode.UNAVAILABLE:
            # It may be stored or not: the same ref asks, and never makes a second message.
            engine.reactor.after(event.retry_after or _UNAVAILABLE_RETRY, lambda: self._repeat(counter))
            return
        del self.pending[counter]
        engine.count("refused")
        self.answered()

    def answered(self) -> None:
        """Go on: one message less is unacknowledged."""

    def resumed(self) -> None:
        for counter in sorted(self.pending):
            self._repeat(counter)

    def _repeat(self, counter: int) -> None:
        pending = self.pending.get(counter)
        if pending is not None and self.up:
            self.tell(self._frame(pending))

    def forget(self) -> None:
        # The session that they belong to is gone, and nobody can tell any more whether they were stored.
        self._let_go()
        super().forget()

    def _let_go(self) -> None:
        if not self.engine.stopping:
            self.engine.count("abandoned", len(self.pending))
        for counter in self.pending:
            self.engine.audit.refused(self.speaks_in, self.name, counter)
        self.pending.clear()

    def unacknowledged(self) -> int:
        return len(self.pending)

    def reckon(self) -> None:
        if self.pending and self.up:
            self.engine.audit.unanswered(self.speaks_in, self.name, len(self.pending))
