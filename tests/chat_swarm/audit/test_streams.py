"""Simulated runs of several processes: a perfect one passes; each injected fault is found, no other."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from unittest import mock

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import msgpack

from chat_swarm.audit.merge import merge_audits
from chat_swarm.audit.process_audit import ProcessAudit, Receiver
from chat_swarm.model.schema import AuditFault, AuditResult
from support.swarm.audits import Shown

ROOM = "hall"
SEEDS = st.integers(0, 2**32).map(random.Random)


@dataclass(frozen=True)
class Message:
    sender: str
    counter: int


@dataclass
class Stay:
    """A receiver gets the seqs after `start`, up to `end`; then it leaves, or the run is over."""

    start: int
    end: int
    runs: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class SimulatedBot:
    name: str
    process: int
    stays: list[Stay]
    stays_on: bool
    """Whether it is connected at the end, so that it must have got everything."""

    def must_receive(self, seq: int) -> bool:
        """Return whether the audit must notice if this bot does not get this seq."""
        for place, stay in enumerate(self.stays):
            if stay.start < seq <= stay.end:
                return seq < stay.end or (self.stays_on and place == len(self.stays) - 1)
        return False

    def cut_up(self, source: random.Random) -> None:
        """Split its seqs into runs; a long one is a catch-up after an absence."""
        for stay in self.stays:
            stay.runs = []
            at = stay.start
            while at < stay.end:
                last = min(stay.end, at + source.choice((1, 1, 1, 2, 3, 12)))
                stay.runs.append((at + 1, last))
                at = last

    def without(self, seq: int) -> None:
        """Remove a seq from its runs."""
        for stay in self.stays:
            stay.runs = [
                part
                for first, last in stay.runs
                for part in (
                    ((first, seq - 1), (seq + 1, last)) if first <= seq <= last else ((first, last),)
                )
                if part[0] <= part[1]
            ]

    def place(self, seq: int) -> tuple[Stay, int]:
        """Return stay and index of a run with just this seq, splitting a run if needed."""
        for stay in self.stays:
            for place, (first, last) in enumerate(stay.runs):
                if first <= seq <= last:
                    parts = [(first, seq - 1), (seq, seq), (seq + 1, last)]
                    whole = [part for part in parts if part[0] <= part[1]]
                    stay.runs[place : place + 1] = whole
                    return stay, place + whole.index((seq, seq))
        raise AssertionError


@dataclass
class SimulatedRun:
    """A run: the room's messages, of which number n has seq n, and which bot got which of them."""

    messages: list[Message]
    processes: int
    bots: list[SimulatedBot]
    refused: list[Message]
    source: random.Random
    unacknowledged: set[int] = field(default_factory=set)
    unanswered: int = 0
    reported: int = 0
    """Number of faults that the processes reported before the end."""
    changed: dict[tuple[int, int], Message] = field(default_factory=dict)
    """(process, seq) → the message that the bots of that process get instead."""

    @property
    def head(self) -> int:
        return len(self.messages)

    def result(self) -> AuditResult:
        """Replay the run to audits, with the bots interleaved at random, and return the merged result."""
        audits = [ProcessAudit() for _ in range(self.processes)]
        delivered = sum(
            last - first + 1 for bot in self.bots for stay in bot.stays for first, last in stay.runs
        )
        replays = [self._replay(bot, audits[bot.process]) for bot in self.bots]
        for one in replays[: self.processes]:
            next(one, None)  # so that the log starts with the first message, if a bot got it
        while replays:
            one = self.source.choice(replays)
            if next(one, "over") == "over":
                replays.remove(one)
        for seq, message in enumerate(self.messages, 1):
            if seq not in self.unacknowledged:
                self._of(audits, message).note_durable(ROOM, seq)
        for message in self.refused:
            self._of(audits, message).excuse_counter(ROOM, message.sender, message.counter)
        audits[0].count_unanswered(ROOM, "ann", self.unanswered)
        found = [audit.take_faults() for audit in audits]
        assert not any(audit.take_faults() for audit in audits)
        result = merge_audits([msgpack.decode(msgpack.encode(audit.final_report())) for audit in audits])
        assert result.checked == delivered
        assert result.passed == (not any(result.counts.values()))
        assert {fault.kind for fault in result.faults} == {k for k, n in result.counts.items() if n}
        assert not result.passed or not result.unfinished
        self.reported = sum(sum(faults.values()) for faults in found)
        return result

    def _of(self, audits: list[ProcessAudit], message: Message) -> ProcessAudit:
        return audits[sum(message.sender.encode()) % len(audits)]

    def _replay(self, bot: SimulatedBot, audit: ProcessAudit) -> Iterator[None]:
        receiver: Receiver | None = None
        for stay in bot.stays:
            if receiver is not None:
                audit.unfollow(receiver)
            receiver = audit.follow(bot.name, ROOM, stay.start)
            for first, last in stay.runs:
                for seq in range(first, last + 1):
                    message = self.changed.get((bot.process, seq), self.messages[seq - 1])
                    audit.compare(bot.name, ROOM, [Shown(seq, message.sender, message.counter)])
                if first == receiver.position + 1:
                    receiver.position = last
                else:
                    audit.observe_out_of_sequence(receiver, first, last)
                yield
        if receiver is not None and not bot.stays_on:
            audit.unfollow(receiver)


def perfect(source: random.Random, processes: int = 0) -> SimulatedRun:
    """Return a run without a fault. The first bot of each process is connected from the first message on."""
    senders = [f"c{number}" for number in range(source.randint(1, 5))]
    counters = dict.fromkeys(senders, 0)
    messages: list[Message] = []
    refused: list[Message] = []
    for _ in range(source.randint(8, 60)):
        sender = source.choice(senders)
        counters[sender] += 1
        refuses = source.random() < 0.1
        (refused if refuses else messages).append(Message(sender, counters[sender]))
    processes = processes or source.randint(1, 3)
    head = len(messages)
    bots = []
    for number in range(processes + source.randint(1, 4)):
        if number < processes:
            bot = SimulatedBot(f"b{number}", number, [Stay(0, head)], stays_on=True)
        else:
            marks = sorted(source.sample(range(head + 1), 2 * source.randint(1, min(3, head // 2))))
            stays = [Stay(*pair) for pair in zip(marks[::2], marks[1::2], strict=True)]
            bot = SimulatedBot(
                f"b{number}", source.randrange(processes), stays, stays_on=source.random() < 0.5
            )
            if bot.stays_on:
                stays[-1].end = head
        bot.cut_up(source)
        bots.append(bot)
    return SimulatedRun(messages, processes, bots, refused, source)


def counted(result: AuditResult) -> dict[str, int]:
    return {kind: number for kind, number in result.counts.items() if number}


def only(result: AuditResult) -> AuditFault:
    """Return the only fault."""
    assert len(result.faults) == 1, result
    return result.faults[0]


@contextmanager
def small_logs() -> Iterator[None]:
    """Use a small window, so that entries leave it soon."""
    with (
        mock.patch.multiple(
            "chat_swarm.audit.room_log",
            WINDOW_SEQS=12,
            SHARED_WINDOW_SEQS=0,
            BLOCK_SEQS=4,
            HOLE_PATIENCE_SEQS=5,
        ),
        mock.patch("chat_swarm.audit.log_diff.BLOCK_SEQS", 4),
    ):
        yield


def any_receiver(run: SimulatedRun, seq: int) -> SimulatedBot:
    """Return a bot that must get this seq."""
    return run.source.choice([bot for bot in run.bots if bot.must_receive(seq)])


@given(SEEDS)
def test_perfect_run_passes(source: random.Random) -> None:
    run = perfect(source)
    assert run.result().passed
    assert not run.reported


@given(SEEDS)
def test_perfect_run_passes_with_a_small_window(source: random.Random) -> None:
    with small_logs():
        assert perfect(source).result().passed


@given(SEEDS)
def test_message_dropped_for_one_receiver_is_lost(source: random.Random) -> None:
    run = perfect(source)
    seq = source.choice((run.head, source.randint(1, run.head)))
    bot = any_receiver(run, seq)
    bot.without(seq)
    result = run.result()
    assert counted(result) == {"lost": 1}
    fault = only(result)
    assert (fault.kind, fault.bot, fault.first, fault.last) == ("lost", bot.name, seq, seq)
    assert result.unfinished == (seq == run.head)


@given(SEEDS)
def test_missing_end_of_one_receiver_is_lost(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head)
    bot = run.source.choice([bot for bot in run.bots if bot.stays_on and bot.stays[-1].start < seq])
    for late in range(seq, run.head + 1):
        bot.without(late)
    result = run.result()
    assert counted(result) == {"lost": run.head - seq + 1}
    assert (only(result).bot, only(result).first, only(result).last) == (bot.name, seq, run.head)
    assert result.unfinished == 1


@given(SEEDS)
def test_seq_delivered_to_no_receiver_is_lost_for_all(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head - 1)
    losers = sorted(bot.name for bot in run.bots if bot.must_receive(seq))
    for bot in run.bots:
        bot.without(seq)
    run.unacknowledged.add(seq)
    run.unanswered = 1
    result = run.result()
    assert counted(result) == {"lost": len(losers), "unanswered": 1}
    lost = [fault for fault in result.faults if fault.kind == "lost"]
    assert sorted(fault.bot for fault in lost) == losers
    assert {(fault.first, fault.last) for fault in lost} == {(seq, seq)}


@given(SEEDS)
def test_second_delivery_to_one_receiver_is_repeated(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head)
    bot = any_receiver(run, seq)
    stay, place = bot.place(seq)
    stay.runs.insert(source.randint(place + 1, len(stay.runs)), (seq, seq))
    result = run.result()
    assert counted(result) == {"repeated": 1}
    assert (only(result).bot, only(result).first, only(result).last) == (bot.name, seq, seq)


@given(SEEDS)
def test_late_delivery_to_one_receiver_is_reordered(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head - 1)
    bot = any_receiver(run, seq)
    stay, place = bot.place(seq)
    stay.runs.insert(source.randint(place + 1, len(stay.runs) - 1), stay.runs.pop(place))
    result = run.result()
    assert counted(result) == {"reordered": 1}
    assert (only(result).bot, only(result).first, only(result).last) == (bot.name, seq, seq)


@given(SEEDS)
def test_different_message_in_one_process_is_mismatched(source: random.Random) -> None:
    run = perfect(source, processes=2)
    seq = source.randint(1, run.head)
    run.changed[source.randrange(2), seq] = Message("stranger", 1)
    result = run.result()
    assert counted(result) == {"mismatched": 1}
    assert (only(result).first, only(result).last) == (seq, seq)


@given(SEEDS)
def test_message_with_another_seq_in_one_process_is_mismatched(source: random.Random) -> None:
    run = perfect(source, processes=2)
    seq, other = source.sample(range(1, run.head + 1), 2)
    run.changed[source.randrange(2), seq] = run.messages[other - 1]
    result = run.result()
    # For the bots of that process, the other message came twice, or too early.
    assert result.counts["mismatched"] == 1
    assert {"mismatched", "repeated", "reordered"} >= set(counted(result))
    assert seq in {fault.first for fault in result.faults if fault.kind == "mismatched"}


@given(SEEDS)
def test_digests_of_old_seqs_are_compared_between_processes(source: random.Random) -> None:
    run = perfect(source, processes=2)
    assume(run.head > 30)
    run.bots = run.bots[:2]  # late joiners would leave less to compare
    run.changed[source.randrange(2), 3] = Message("stranger", 1)
    with small_logs():
        result = run.result()
    assert counted(result) == {"mismatched": 1}
    assert (only(result).first, only(result).last) == (1, 4)


@given(SEEDS)
def test_message_stored_twice_is_repeated(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(2, run.head)
    first = source.randint(1, seq - 1)
    run.messages.insert(seq - 1, run.messages[first - 1])
    for bot in run.bots:
        if bot.stays_on:
            bot.stays[-1].end = run.head
            bot.cut_up(source)
    result = run.result()
    assert counted(result) == {"repeated": 1}
    assert only(result).first == seq
    assert f"stored twice: as seq {first} and as seq {seq}" in only(result).detail


@given(SEEDS)
def test_room_with_swapped_messages_of_a_sender_is_reordered(source: random.Random) -> None:
    run = perfect(source)
    one = source.randint(1, run.head - 1)
    sender = run.messages[one - 1].sender
    later = [seq for seq in range(one + 1, run.head + 1) if run.messages[seq - 1].sender == sender]
    # The first observed counter of a sender is always accepted; after that, the order is checked.
    assume(later and any(message.sender == sender for message in run.messages[: one - 1]))
    two = later[0]
    run.messages[one - 1], run.messages[two - 1] = run.messages[two - 1], run.messages[one - 1]
    again = replace(run, refused=[*run.refused, run.messages[two - 1]])
    result = run.result()
    assert counted(result) == {"reordered": 1}
    assert (only(result).bot, only(result).first) == (sender, two)
    assert counted(again.result()) == {}


@given(SEEDS)
def test_message_neither_stored_nor_refused_is_lost(source: random.Random) -> None:
    run = perfect(source)
    assume(run.refused)
    left_out = run.refused.pop(source.randrange(len(run.refused)))
    counters = [message.counter for message in run.messages if message.sender == left_out.sender]
    # Its counter is missing between an earlier and a later one; otherwise it would be unanswered.
    assume(counters and min(counters) < left_out.counter < max(counters))
    result = run.result()
    assert counted(result) == {"lost": 1}
    assert only(result).bot == left_out.sender
    assert only(result).detail.startswith(f"message {left_out.counter} of {left_out.sender}: ")
    later = min(counter for counter in counters if counter > left_out.counter)
    assert run.messages[only(result).first - 1] == Message(left_out.sender, later)
