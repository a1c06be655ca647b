"""What one process's bots were shown, held against the contract: each seq once, in order, the same to all.

Knows what bots tell it. Must not know sockets, clocks nor other processes: audit/merge.py puts processes
together. `shown` runs for each decoded frame; for each delivery the engine itself compares with
`Receiver.position`, and only what does not follow comes here.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from chat_swarm.audit.fault_log import FaultLog
from chat_swarm.audit.findings import ExcusedCounters, FinalPosition, ProcessFindings
from chat_swarm.audit.receiver import Receiver
from chat_swarm.audit.room_log import RoomLog

__all__ = ["ProcessAudit", "Receiver"]


class ProcessAudit:
    """The audit of one process."""

    def __init__(self) -> None:
        self._fault_log = FaultLog()
        self._logs: dict[str, RoomLog] = {}
        self._followed: set[Receiver] = set()
        self._heads: dict[
            str, int
        ] = {}  # acknowledged, or got to by a receiver that is not followed any more
        self._receivers = 0
        self._checked = 0
        self._explained_gaps = 0

    # What becomes of a receiver.

    def follow(self, bot: str, room: str, seq: int) -> Receiver:
        """Follow this bot in this room from now on; the next that it is shown must be `seq` + 1."""
        receiver = Receiver(bot, room, seq)
        self._followed.add(receiver)
        self._receivers += 1
        return receiver

    def unfollow(self, receiver: Receiver) -> None:
        """Follow it no longer: it left the room, quit, or will not come back. Its tail is not checked."""
        if receiver in self._followed:
            self._finish_receiver(receiver)
            self._followed.discard(receiver)

    def observe_out_of_sequence(self, receiver: Receiver, first: int, last: int) -> None:
        """Take a run of seqs that does not follow the receiver's position."""
        if receiver in self._followed:
            self._checked += receiver.observe_run(first, last, self._fault_log)

    def observe_gap(self, receiver: Receiver, first: int, last: int) -> None:
        """Take a `gap` that the receiver was told of."""
        if receiver in self._followed:
            self._checked += receiver.observe_gap(first, last, self._fault_log)
            if receiver.excused:
                self._explained_gaps += last - first + 1

    # What becomes of a message.

    def observe_message(self, room: str, seq: int, sender: str, counter: int) -> None:
        """Take a message of this run's bots, once for each time that it is decoded.

        `counter` goes up by one with each message of `sender` in this room; `sender` stays the same
        for the whole run, over all its sessions.
        """
        log = self._logs.get(room)
        if log is None:
            log = self._logs[room] = RoomLog(room, seq, self._fault_log)
        log.observe(seq, sender, counter)

    def note_durable(self, room: str, seq: int) -> None:
        """Note that this seq is durable, so that every receiver must come to it."""
        if seq > self._heads.get(room, 0):
            self._heads[room] = seq

    def excuse_counter(self, room: str, sender: str, counter: int) -> None:
        """Note that this message need not be stored, or may be stored after later ones.

        An error answered it (it may be sent again), or a session ended without a word of it.
        """
        self._fault_log.excuse_counter(room, sender, counter)

    def count_unanswered(self, room: str, bot: str, count: int) -> None:
        """Note messages on a connection that stood, which were neither acknowledged nor refused."""
        if count > 0:
            self._fault_log.counts["unanswered"] += count
            detail = f"{count} of {bot}'s messages were neither acknowledged nor refused"
            self._fault_log.record_text("unanswered", room, bot, 0, 0, detail)

    # What the others ask.

    def take_faults(self) -> dict[str, int]:
        """Return the faults that were found since the last time, by the names of `metrics.FAULTS`."""
        return self._fault_log.take_new_counts()

    def heads(self) -> dict[str, int]:
        """Return the highest seq of each room that is known here."""
        heads = dict(self._heads)
        for room, log in self._logs.items():
            if log.head > heads.get(room, 0):
                heads[room] = log.head
        for receiver in self._followed:
            if receiver.position >= heads.get(receiver.room, 0):
                heads[receiver.room] = receiver.position
        return heads

    def count_behind(self, heads: Mapping[str, int]) -> int:
        """Return how many receivers have not come to these heads yet."""
        get = heads.get
        return sum(receiver.position < get(receiver.room, 0) for receiver in self._followed)

    def final_report(self) -> dict[str, Any]:
        """Return what reckoning.reckon needs of this process. Nothing may be told to this audit after it."""
        tails: dict[str, list[FinalPosition]] = {}
        for receiver in self._followed:
            self._finish_receiver(receiver)
            tail = FinalPosition(receiver.bot, receiver.position, receiver.slow)
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

    def _finish_receiver(self, receiver: Receiver) -> None:
        """Count what it was shown, and give up what it still misses."""
        self._checked += receiver.take_uncounted()
        receiver.report_missing(self._fault_log)
        self.note_durable(receiver.room, receiver.position)
