"""Merge of the audits of all processes into the result of the run.

Some faults show only here: a receiver behind a head that only another process knows, a message that differs
between processes, and a missing counter that neither its sender's process nor any receiver's can explain.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import msgspec

from chat_swarm.audit.conflicts import find_conflicts
from chat_swarm.audit.fault_log import FAULTS_KEPT
from chat_swarm.audit.findings import FinalPosition, ProcessFindings, SkippedCounters
from chat_swarm.audit.interval_set import IntervalSet, range_text
from chat_swarm.audit.log_diff import decode_entries, differing_blocks
from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import AuditFault, AuditResult

_ExcusedBySender = defaultdict[tuple[str, str], IntervalSet]


def merge_audits(finals: Iterable[dict[str, Any]], *, notes: Iterable[str] = ()) -> AuditResult:
    """Merge the `ProcessAudit.final_report` of every process.

    `notes`: further reasons why the check is incomplete, such as a process that did not report. With any
    note, its own or a process's, the audit does not pass, whatever it found.
    """
    processes = [msgspec.convert(final, ProcessFindings) for final in finals]
    heads: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for findings in processes:
        counts.update(findings.counts)
        counts.update(findings.spilled)
        for room, seq in findings.heads.items():
            heads[room] = max(seq, heads.get(room, 0))
    faults = [fault for findings in processes for fault in findings.faults]
    excused = _merge_excused(processes)
    for fault in _merge_room_faults(processes, excused):
        counts[fault.kind] += 1
        faults.append(fault)
    complete = not any(findings.notes for findings in processes)
    for fault, number in _lost_by_senders(processes, excused, faults) if complete else ():
        counts["lost"] += number
        faults.append(fault)
    unfinished = list(_unfinished_receivers(processes, heads))
    for room, tail in unfinished:
        if not tail.slow and not tail.unread:
            counts["lost"] += heads[room] - tail.position
            faults.append(_unfinished_fault(room, tail, heads[room]))
    broken = [
        *notes,
        *(note for findings in processes for note in findings.notes),
        *_unread_notes(unfinished),
    ]
    return AuditResult(
        passed=not broken and not any(counts.values()),
        counts={kind: counts[kind] for kind in FAULTS},
        receivers=sum(findings.receivers for findings in processes),
        checked=sum(findings.checked for findings in processes),
        rooms=len(heads),
        explained_gaps=sum(findings.explained_gaps for findings in processes),
        unfinished=len(unfinished),
        uncompared=(uncompared := sum(findings.uncompared for findings in processes)),
        notes=list(dict.fromkeys([*broken, *_slow_reader_notes(unfinished), *_late_notes(uncompared)])),
        faults=_interleave_kinds(faults)[:FAULTS_KEPT],
    )


def _merge_excused(processes: list[ProcessFindings]) -> _ExcusedBySender:
    """Return the counters that may be missing or late, as reported by the processes of their senders."""
    excused: _ExcusedBySender = defaultdict(IntervalSet)
    for findings in processes:
        for refusals in findings.refused:
            for first, last in refusals.ranges:
                excused[refusals.room, refusals.sender].add(first, last)
    return excused


def _merge_room_faults(processes: list[ProcessFindings], excused: _ExcusedBySender) -> list[AuditFault]:
    """Return the faults of rooms' contents, each once, and the mismatches between processes."""
    found: dict[tuple[str, str, int], AuditFault] = {}
    for one in (fault for findings in processes for fault in findings.room_faults):
        if one.kind != "reordered" or one.counter not in excused.get((one.room, one.sender), ()):
            found[one.kind, one.room, one.seq] = AuditFault(
                kind=one.kind, room=one.room, bot=one.sender, first=one.seq, last=one.seq, detail=one.detail
            )
    for kind, room, seq in list(found):
        if kind == "repeated":  # a receiver that joined between the two saw it out of order
            found.pop(("reordered", room, seq), None)
    _drop_consequences(found, processes)
    altered = {
        (fault.room, fault.first)
        for findings in processes
        for fault in findings.faults
        if fault.kind == "altered"
    }
    for fault in find_conflicts(processes, altered):
        found[fault.kind, fault.room, fault.first] = fault
    for room in {room for findings in processes for room in findings.records}:
        records = [findings.records[room] for findings in processes if room in findings.records]
        for fault in differing_blocks(room, records):
            found.setdefault((fault.kind, fault.room, fault.first), fault)
    return list(found.values())


def _drop_consequences(
    found: dict[tuple[str, str, int], AuditFault], processes: list[ProcessFindings]
) -> None:
    """Drop faults of a sender's order after a seq that was shown differently: its counter may be wrong."""
    first: dict[tuple[str, str], int] = {}
    for conflict in (conflict for findings in processes for conflict in findings.conflicts):
        key = (conflict.room, conflict.sender)
        first[key] = min(conflict.seq, first.get(key, conflict.seq))
    for place, fault in list(found.items()):
        if fault.first > first.get((fault.room, fault.bot), fault.first):
            del found[place]


def _lost_by_senders(
    processes: list[ProcessFindings], excused: _ExcusedBySender, faults: list[AuditFault]
) -> Iterator[tuple[AuditFault, int]]:
    """Yield (fault, number of messages) for counters that are missing and not excused.

    Several processes notice the same missing counter. It does not count if any process observed that message
    at another seq, or if it was noticed at a mismatched seq, or in a room with a mismatch at an unknown seq.
    """
    void = {(fault.room, fault.first) for fault in faults if fault.kind == "mismatched"}
    vague = {fault.room for fault in faults if fault.kind == "mismatched" and fault.first < fault.last}
    skipped: defaultdict[str, defaultdict[str, list[SkippedCounters]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for findings in processes:
        for room, skips in findings.skips.items():
            for skip in skips:
                if (room, skip.seq) not in void and room not in vague:
                    skipped[room][skip.sender].append(skip)
    for room, senders in skipped.items():
        missing: dict[str, IntervalSet] = {}
        for sender, skips in senders.items():
            ranges = missing[sender] = IntervalSet()
            for skip in skips:
                ranges.add(skip.first, skip.last)
            for first, last in excused.get((room, sender), ()):
                ranges.remove(first, last)
        if any(missing.values()):
            for findings in processes:
                if room in findings.records:
                    for _, (sender, counter) in decode_entries(findings.records[room]):
                        if sender in missing:
                            missing[sender].remove(counter, counter)
        for sender, ranges in missing.items():
            for first, last in ranges:
                seq = min(skip.seq for skip in senders[sender] if skip.first <= last and skip.last >= first)
                number = "message" if first == last else "messages"
                detail = f"{number} {range_text(first, last)} of {sender}: neither refused nor stored"
                detail = f"{detail}, but a later one is, as seq {seq}"
                yield (
                    AuditFault(kind="lost", room=room, bot=sender, first=seq, last=seq, detail=detail),
                    last - first + 1,
                )


def _unfinished_receivers(
    processes: list[ProcessFindings], heads: dict[str, int]
) -> Iterator[tuple[str, FinalPosition]]:
    """Yield (room, final position) of the receivers that did not reach the head of their room."""
    for findings in processes:
        for room, tails in findings.tails.items():
            for tail in tails:
                if tail.position < heads[room]:
                    yield room, tail


def _unfinished_fault(room: str, tail: FinalPosition, head: int) -> AuditFault:
    missing = range_text(tail.position + 1, head)
    detail = f"{tail.bot} never got {missing}: its position at the end was {tail.position}"
    return AuditFault(kind="lost", room=room, bot=tail.bot, first=tail.position + 1, last=head, detail=detail)


def _slow_reader_notes(unfinished: list[tuple[str, FinalPosition]]) -> list[str]:
    slow = sum(tail.slow for _, tail in unfinished)
    return [f"{slow} bots that read slowly on purpose did not reach the end: not a loss"] if slow else []


def _unread_notes(unfinished: list[tuple[str, FinalPosition]]) -> list[str]:
    unread = sum(tail.unread and not tail.slow for _, tail in unfinished)
    why = "had not read all that had arrived when the drain ended: their own lag, no loss; give more --drain"
    return [f"{unread:,} bots {why}"] if unread else []


def _late_notes(uncompared: int) -> list[str]:
    late = "were received so late that they could not be compared with what others were shown: not a fault"
    return [f"{uncompared:,} messages {late}"] if uncompared else []


def _interleave_kinds(faults: list[AuditFault]) -> list[AuditFault]:
    """Return the faults ordered so that the first of each kind come first."""
    kinds = [[fault for fault in faults if fault.kind == kind] for kind in FAULTS]
    return [fault for row in zip_longest(*kinds) for fault in row if fault is not None]
