"""Whole runs of several processes: a perfect one passes; what is done to one is found, and nothing else."""

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

ROOM = "hall"
SEEDS = st.integers(0, 2**32).map(random.Random)


@dataclass(frozen=True)
class Message:
    sender: str
    counter: int


@dataclass
class Stay:
    """A receiver is shown what comes after `start`, up to `end`; then it goes, or the run is over."""

    start: int
    end: int
    runs: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Bot:
    name: str
    process: int
    stays: list[Stay]
    stays_on: bool
    """Whether it is there at the end, so that it must have got everything."""

    def sure(self, seq: int) -> bool:
        """Return whether it will be noticed if this seq is not shown to this bot."""
        for place, stay in enumerate(self.stays):
            if stay.start < seq <= stay.end:
                return seq < stay.end or (self.stays_on and place == len(self.stays) - 1)
        return False

    def cut_up(self, source: random.Random) -> None:
        """Make runs of what it is shown; a long one is what it gets after it was away."""
        for stay in self.stays:
            stay.runs = []
            at = stay.start
            while at < stay.end:
                last = min(stay.end, at + source.choice((1, 1, 1, 2, 3, 12)))
                stay.runs.append((at + 1, last))
                at = last

    def without(self, seq: int) -> None:
        """Take a seq out of its runs."""
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
        """Return where a run of just this seq is, or is put, in a stay that shows it."""
        for stay in self.stays:
            for place, (first, last) in enumerate(stay.runs):
                if first <= seq <= last:
                    parts = [(first, seq - 1), (seq, seq), (seq + 1, last)]
                    whole = [part for part in parts if part[0] <= part[1]]
                    stay.runs[place : place + 1] = whole
                    return stay, place + whole.index((seq, seq))
        raise AssertionError


@dataclass
class Run:
    """What happened: the room's messages, of which number n has seq n, and who was shown which."""

    messages: list[Message]
    processes: int
    bots: list[Bot]
    refused: list[Message]
    source: random.Random
    unacknowledged: set[int] = field(default_factory=set)
    unanswered: int = 0
    told: int = 0
    """How many faults the processes had told of before the end."""
    changed: dict[tuple[int, int], Message] = field(default_factory=dict)
    """What the bots of a process are shown under a seq instead."""

    @property
    def head(self) -> int:
        return len(self.messages)

    def result(self) -> AuditResult:
        """Tell it all to audits, the bots in any order among each other, and return the reckoning."""
        audits = [ProcessAudit() for _ in range(self.processes)]
        delivered = sum(
            last - first + 1 for bot in self.bots for stay in bot.stays for first, last in stay.runs
        )
        told = [self._tell(bot, audits[bot.process]) for bot in self.bots]
        for one in told[: self.processes]:
            next(one, None)  # so that the log begins with the first message, if somebody was there for it
        while told:
            one = self.source.choice(told)
            if next(one, "over") == "over":
                told.remove(one)
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
        self.told = sum(sum(faults.values()) for faults in found)
        return result

    def _of(self, audits: list[ProcessAudit], message: Message) -> ProcessAudit:
        return audits[sum(message.sender.encode()) % len(audits)]

    def _tell(self, bot: Bot, audit: ProcessAudit) -> Iterator[None]:
        receiver: Receiver | None = None
        for stay in bot.stays:
            if receiver is not None:
                audit.unfollow(receiver)
            receiver = audit.follow(bot.name, ROOM, stay.start)
            for first, last in stay.runs:
                for seq in range(first, last + 1):
                    message = self.changed.get((bot.process, seq), self.messages[seq - 1])
                    audit.observe_message(ROOM, seq, message.sender, message.counter)
                if first == receiver.position + 1:
                    receiver.position = last
                else:
                    audit.observe_out_of_sequence(receiver, first, last)
                yield
        if receiver is not None and not bot.stays_on:
            audit.unfollow(receiver)


def perfect(source: random.Random, processes: int = 0) -> Run:
    """Return a run without a fault. The first bot of each process is there from the first message on."""
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
            bot = Bot(f"b{number}", number, [Stay(0, head)], stays_on=True)
        else:
            marks = sorted(source.sample(range(head + 1), 2 * source.randint(1, min(3, head // 2))))
            stays = [Stay(*pair) for pair in zip(marks[::2], marks[1::2], strict=True)]
            bot = Bot(f"b{number}", source.randrange(processes), stays, stays_on=source.random() < 0.5)
            if bot.stays_on:
                stays[-1].end = head
        bot.cut_up(source)
        bots.append(bot)
    return Run(messages, processes, bots, refused, source)


def counted(result: AuditResult) -> dict[str, int]:
    return {kind: number for kind, number in result.counts.items() if number}


def only(result: AuditResult) -> AuditFault:
    """Return the fault if there is one only."""
    assert len(result.faults) == 1, result
    return result.faults[0]


@contextmanager
def small_logs() -> Iterator[None]:
    """Let entries leave the window soon."""
    with (
        mock.patch.multiple("chat_swarm.audit.room_log", WINDOW_SEQS=12, BLOCK_SEQS=4, HOLE_PATIENCE_SEQS=5),
        mock.patch("chat_swarm.audit.log_diff.BLOCK_SEQS", 4),
    ):
        yield


def someone(run: Run, seq: int) -> Bot:
    """Return a bot whom this seq is owed to."""
    return run.source.choice([bot for bot in run.bots if bot.sure(seq)])


@given(SEEDS)
def test_a_perfect_run_passes(source: random.Random) -> None:
    run = perfect(source)
    assert run.result().passed
    assert not run.told


@given(SEEDS)
def test_a_perfect_run_passes_however_little_of_it_is_kept(source: random.Random) -> None:
    with small_logs():
        assert perfect(source).result().passed


@given(SEEDS)
def test_what_is_dropped_on_the_way_to_one_is_lost(source: random.Random) -> None:
    run = perfect(source)
    seq = source.choice((run.head, source.randint(1, run.head)))
    bot = someone(run, seq)
    bot.without(seq)
    result = run.result()
    assert counted(result) == {"lost": 1}
    fault = only(result)
    assert (fault.kind, fault.bot, fault.first, fault.last) == ("lost", bot.name, seq, seq)
    assert result.unfinished == (seq == run.head)


@given(SEEDS)
def test_a_tail_that_one_never_got_is_lost(source: random.Random) -> None:
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
def test_a_seq_that_nobody_is_shown_is_lost_to_all(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head - 1)
    losers = sorted(bot.name for bot in run.bots if bot.sure(seq))
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
def test_what_one_is_shown_again_is_repeated(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head)
    bot = someone(run, seq)
    stay, place = bot.place(seq)
    stay.runs.insert(source.randint(place + 1, len(stay.runs)), (seq, seq))
    result = run.result()
    assert counted(result) == {"repeated": 1}
    assert (only(result).bot, only(result).first, only(result).last) == (bot.name, seq, seq)


@given(SEEDS)
def test_what_one_is_shown_after_later_ones_is_reordered(source: random.Random) -> None:
    run = perfect(source)
    seq = source.randint(1, run.head - 1)
    bot = someone(run, seq)
    stay, place = bot.place(seq)
    stay.runs.insert(source.randint(place + 1, len(stay.runs) - 1), stay.runs.pop(place))
    result = run.result()
    assert counted(result) == {"reordered": 1}
    assert (only(result).bot, only(result).first, only(result).last) == (bot.name, seq, seq)


@given(SEEDS)
def test_what_one_process_is_shown_otherwise_is_mismatched(source: random.Random) -> None:
    run = perfect(source, processes=2)
    seq = source.randint(1, run.head)
    run.changed[source.randrange(2), seq] = Message("stranger", 1)
    result = run.result()
    assert counted(result) == {"mismatched": 1}
    assert (only(result).first, only(result).last) == (seq, seq)


@given(SEEDS)
def test_a_message_that_one_process_is_shown_in_anothers_place_is_mismatched(source: random.Random) -> None:
    run = perfect(source, processes=2)
    seq, other = source.sample(range(1, run.head + 1), 2)
    run.changed[source.randrange(2), seq] = run.messages[other - 1]
    result = run.result()
    # To the bots of that process, the other message came twice, or too early.
    assert result.counts["mismatched"] == 1
    assert {"mismatched", "repeated", "reordered"} >= set(counted(result))
    assert seq in {fault.first for fault in result.faults if fault.kind == "mismatched"}


@given(SEEDS)
def test_what_is_old_is_still_compared_between_processes(source: random.Random) -> None:
    run = perfect(source, processes=2)
    assume(run.head > 30)
    run.bots = run.bots[:2]  # those who come late would see to it that less is comparable
    run.changed[source.randrange(2), 3] = Message("stranger", 1)
    with small_logs():
        result = run.result()
    assert counted(result) == {"mismatched": 1}
    assert (only(result).first, only(result).last) == (1, 4)


@given(SEEDS)
def test_a_message_that_is_stored_twice_is_repeated(source: random.Random) -> None:
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
    assert f"stored twice: as {first} and as {seq}" in only(result).detail


@given(SEEDS)
def test_a_room_that_mixes_up_a_senders_messages_is_reordered(source: random.Random) -> None:
    run = perfect(source)
    one = source.randint(1, run.head - 1)
    sender = run.messages[one - 1].sender
    later = [seq for seq in range(one + 1, run.head + 1) if run.messages[seq - 1].sender == sender]
    # Before its first message anything may have been; after that, the order is known.
    assume(later and any(message.sender == sender for message in run.messages[: one - 1]))
    two = later[0]
    run.messages[one - 1], run.messages[two - 1] = run.messages[two - 1], run.messages[one - 1]
    again = replace(run, refused=[*run.refused, run.messages[two - 1]])
    result = run.result()
    assert counted(result) == {"reordered": 1}
    assert (only(result).bot, only(result).first) == (sender, two)
    assert counted(again.result()) == {}


@given(SEEDS)
def test_what_was_never_stored_nor_refused_is_lost(source: random.Random) -> None:
    run = perfect(source)
    assume(run.refused)
    left_out = run.refused.pop(source.randrange(len(run.refused)))
    counters = [message.counter for message in run.messages if message.sender == left_out.sender]
    # Between what the sender said before and after, its counter is missing; else it would be unanswered.
    assume(counters and min(counters) < left_out.counter < max(counters))
    result = run.result()
    assert counted(result) == {"lost": 1}
    assert only(result).bot == left_out.sender
    assert only(result).detail.startswith(f"message {left_out.counter} of {left_out.sender}, ")
    later = min(counter for counter in counters if counter > left_out.counter)
    assert run.messages[only(result).first - 1] == Message(left_out.sender, later)
