"""The audit of one process: each receiver gets each seq once and in order, all of them the same message.

For each delivery, the bot itself compares the seq with `Receiver.position`; it calls the audit only if the
seq is not the next one. Contents are compared once for each distinct frame: all receivers that get the same
bytes share one decoded run (bots/frame_cache.py), and its first receiver calls `compare`. If others were
shown something else, every receiver of the run calls it, and is recorded by name. audit/merge.py merges the
processes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from chat_swarm.audit.fault_log import FaultLog, add_variant
from chat_swarm.audit.findings import ExcusedCounters, FinalPosition, ProcessFindings
from chat_swarm.audit.interval_set import range_text
from chat_swarm.audit.receiver import Receiver
from chat_swarm.audit.room_log import RoomLog, WindowBudget

__all__ = ["ProcessAudit", "Receiver"]


class ShownMessage(Protocol):
    """A message as one receiver was shown it; the counter is 0 if no bot of this run sent it."""

    @property
    def seq(self) -> int:
        """Its seq."""

    @property
    def sender(self) -> str:
        """The sender's username; it stays the same for the whole run, over all its sessions."""

    @property
    def counter(self) -> int:
        """Rises by one with each message of the sender in this room."""

    @property
    def digest(self) -> int:
        """The digest of its contents (audit/digest.py)."""

    @property
    def line(self) -> bytes:
        """The frame; empty if unknown."""


def _find_no_line(room: str, seq: int, digest: int) -> bytes:  # noqa: ARG001  see `ProcessAudit.find_line`
    return b""


class ProcessAudit:
    """The receivers and room logs of one process."""

    def __init__(self) -> None:
        self.find_line: Callable[[str, int, int], bytes] = _find_no_line
        """Returns the frame with this room, seq and digest if it is still at hand, else b""."""
        self._fault_log = FaultLog()
        self._budget = WindowBudget()
        self._logs: dict[str, RoomLog] = {}
        self._followed: set[Receiver] = set()
        self._heads: dict[str, int] = {}  # durable seqs, and final positions of receivers no longer followed
        self._receivers = 0
        self._checked = 0
        self._explained_gaps = 0

    # Receivers.

    def follow(self, bot: str, room: str, seq: int) -> Receiver:
        """Start to check this bot in this room: the next seq that it gets must be `seq` + 1."""
        receiver = Receiver(bot, room, seq)
        self._followed.add(receiver)
        self._receivers += 1
        return receiver

    def unfollow(self, receiver: Receiver) -> None:
        """Stop to check it: it left, quit, or cannot resume. It need not reach the head of the room."""
        if receiver in self._followed:
            self._finish_receiver(receiver)
            self._followed.discard(receiver)
            self._name_leaver(receiver)

    def observe_out_of_sequence(self, receiver: Receiver, first: int, last: int) -> None:
        """Record a run of seqs that does not start right after the receiver's position."""
        if receiver in self._followed:
            self._checked += receiver.observe_message_run(first, last, self._fault_log)

    def observe_gap(self, receiver: Receiver, first: int, last: int) -> None:
        """Record a `gap` event that the receiver got."""
        if receiver in self._followed:
            self._checked += receiver.observe_gap(first, last, self._fault_log)
            if receiver.excused:
                self._explained_gaps += last - first + 1

    # Messages.

    def compare(self, bot: str, room: str, messages: Iterable[ShownMessage]) -> bool:
        """Compare messages with what other receivers of the room were shown; return whether all are equal."""
        equal = True
        log = self._logs.get(room)
        for message in messages:
            if log is None:
                log = self._logs[room] = RoomLog(room, message.seq, self._fault_log, self._budget)
            sender = message.sender if message.counter else ""
            known = log.observe(message.seq, sender, message.counter, message.digest)
            if known:
                equal = False
                self._record_conflict(bot, room, message, known, log)
        return equal

    def _record_conflict(self, bot: str, room: str, message: ShownMessage, known: int, log: RoomLog) -> None:
        is_new = (room, message.seq) not in self._fault_log.conflicts
        line = self.find_line(room, message.seq, known) if is_new else b""
        sender = log.sender_at(message.seq)
        conflict = self._fault_log.add_conflict(room, message.seq, sender, known, line)
        if conflict is not None:
            add_variant(conflict, bot, message.digest, message.line)

    def count_altered(self, room: str, bot: str, seq: int, detail: str) -> None:
        """Record that a sender was shown its own message otherwise than it had sent it."""
        self._fault_log.count_fault("altered", room, bot, seq, seq, detail)

    def count_stray(self, room: str, bot: str, first: int, last: int) -> None:
        """Record messages of a room that the bot is not in."""
        detail = f"{bot} was shown {range_text(first, last)} of {room}, a room that it is not in"
        self._fault_log.count_fault("stray", room, bot, first, last, detail)

    def note_durable(self, room: str, seq: int) -> None:
        """Record that this seq is durable: every receiver of the room must reach it."""
        if seq > self._heads.get(room, 0):
            self._heads[room] = seq

    def excuse_counter(self, room: str, sender: str, counter: int) -> None:
        """Allow this message to be missing, or to be stored after later ones of its sender.

        The server answered it with an error (it may be sent again), or its session ended before any answer.
        """
        self._fault_log.excuse_counter(room, sender, counter)

    def count_unanswered(self, room: str, bot: str, count: int) -> None:
        """Record messages on an open connection that were neither acknowledged nor refused."""
        if count > 0:
            self._fault_log.counts["unanswered"] += count
            detail = f"{count} of {bot}'s messages were neither acknowledged nor refused"
            self._fault_log.record_text("unanswered", room, bot, 0, 0, detail)

    # Results.

    def take_faults(self) -> dict[str, int]:
        """Return the faults found since the last call, by the names of `metric_names.FAULTS`."""
        return self._fault_log.take_new_counts()

    def heads(self) -> dict[str, int]:
        """Return the highest seq of each room that this process knows."""
        heads = dict(self._heads)
        for room, log in self._logs.items():
            if log.head > heads.get(room, 0):
                heads[room] = log.head
        for receiver in self._followed:
            if receiver.position >= heads.get(receiver.room, 0):
                heads[receiver.room] = receiver.position
        return heads

    def count_behind(self, heads: Mapping[str, int]) -> int:
        """Return the number of receivers that have not reached these heads."""
        get = heads.get
        return sum(receiver.position < get(receiver.room, 0) for receiver in self._followed)

    def final_report(self) -> dict[str, Any]:
        """Return `ProcessFindings` as plain data for `merge_audits`; MUST be the last call."""
        tails: dict[str, list[FinalPosition]] = {}
        for receiver in self._followed:
            self._finish_receiver(receiver)
            tail = FinalPosition(
                receiver.bot, receiver.position, receiver.slow, receiver.joined_at, receiver.unread
            )
            tails.setdefault(receiver.room, []).append(tail)
        for log in self._logs.values():
            log.check_rest()
        fault_log = self._fault_log
        findings = ProcessFindings(
            receivers=self._receivers,
            checked=self._checked,
            explained_gaps=self._explained_gaps,
            counts=dict(fault_log.counts),
            faults=fault_log.faults,
            room_faults=list(fault_log.room_faults.values()),
            conflicts=list(fault_log.conflicts.values()),
            uncompared=fault_log.uncompared,
            spilled=dict(fault_log.spilled),
            heads=self.heads(),
            tails=tails,
            skips={room: skips for room, log in self._logs.items() if (skips := log.skips())},
            refused=[ExcusedCounters(*key, list(ranges)) for key, ranges in fault_log.excused.items()],
            records={room: log.export() for room, log in self._logs.items()},
            notes=list(fault_log.notes),
        )
        plain: dict[str, Any] = msgspec.to_builtins(findings, builtin_types=(bytes,))
        return plain

    def _name_leaver(self, receiver: Receiver) -> None:
        """Name it among those that were shown the first variant: at the end only the others are known."""
        for (room, seq), conflict in self._fault_log.conflicts.items():
            if room == receiver.room and receiver.joined_at < seq <= receiver.position:
                first, *others = conflict.variants
                if not any(receiver.bot in variant.bots for variant in others):
                    add_variant(conflict, receiver.bot, first.digest, b"")

    def _finish_receiver(self, receiver: Receiver) -> None:
        """Count what it got, and report what it still misses as lost."""
        self._checked += receiver.take_uncounted()
        receiver.report_missing(self._fault_log)
        self.note_durable(receiver.room, receiver.position)
