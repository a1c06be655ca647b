"""What the audits of all processes amount to: the run's result.

Knows findings. Must not know bots, nor how findings travel.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import msgspec

from chat_swarm.audit.fault_log import KEPT
from chat_swarm.audit.findings import Findings, Skip, Tail
from chat_swarm.audit.interval_set import Ranges, span
from chat_swarm.audit.log_diff import differences, messages
from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import AuditResult, Fault

_Refused = defaultdict[tuple[str, str], Ranges]


def reckon(finals: Iterable[dict[str, Any]], *, notes: Iterable[str] = ()) -> AuditResult:
    """Put together what `Audit.final` returned in each process.

    `notes` say what else kept the check from being whole, such as a process that did not answer. With
    any of them, or any of a process's own, the audit does not pass, whatever it found.
    """
    told = [msgspec.convert(final, Findings) for final in finals]
    heads: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for findings in told:
        counts.update(findings.counts)
        counts.update(findings.spilled)
        for room, seq in findings.heads.items():
            heads[room] = max(seq, heads.get(room, 0))
    faults = [fault for findings in told for fault in findings.faults]
    refused = _refused(told)
    for fault in _in_rooms(told, refused):
        counts[fault.kind] += 1
        faults.append(fault)
    told_all = not any(findings.notes for findings in told)
    for fault, number in _left_out(told, refused, faults) if told_all else ():
        counts["lost"] += number
        faults.append(fault)
    short = list(_short(told, heads))
    for room, tail in short:
        if not tail.slow:
            counts["lost"] += heads[room] - tail.position
            faults.append(_tail(room, tail, heads[room]))
    broken = [*notes, *(note for findings in told for note in findings.notes)]
    return AuditResult(
        passed=not broken and not any(counts.values()),
        counts={kind: counts[kind] for kind in FAULTS},
        receivers=sum(findings.receivers for findings in told),
        checked=sum(findings.checked for findings in told),
        rooms=len(heads),
        explained_gaps=sum(findings.explained_gaps for findings in told),
        unfinished=len(short),
        notes=list(dict.fromkeys([*broken, *_slow(short)])),
        faults=_mixed(faults)[:KEPT],
    )


def _refused(told: list[Findings]) -> _Refused:
    """Return what may be missing or late, as its senders' processes say."""
    refused: _Refused = defaultdict(Ranges)
    for findings in told:
        for refusals in findings.refused:
            for first, last in refusals.ranges:
                refused[refusals.room, refusals.sender].add(first, last)
    return refused


def _in_rooms(told: list[Findings], refused: _Refused) -> list[Fault]:
    """Return the faults in what rooms hold, each once; and where processes were shown different messages."""
    found: dict[tuple[str, str, int], Fault] = {}
    for one in (fault for findings in told for fault in findings.room_faults):
        if one.kind != "reordered" or one.counter not in refused.get((one.room, one.sender), ()):
            found[one.kind, one.room, one.seq] = Fault(
                kind=one.kind, room=one.room, bot=one.sender, first=one.seq, last=one.seq, detail=one.detail
            )
    for kind, room, seq in list(found):
        if kind == "repeated":  # to whom came in between the two, it seemed to be out of order
            found.pop(("reordered", room, seq), None)
    for room in {room for findings in told for room in findings.records}:
        records = [findings.records[room] for findings in told if room in findings.records]
        for fault in differences(room, records):
            found.setdefault((fault.kind, fault.room, fault.first), fault)
    return list(found.values())


def _left_out(told: list[Findings], refused: _Refused, faults: list[Fault]) -> Iterator[tuple[Fault, int]]:
    """Yield what senders left out and nobody refused, with the number of messages.

    Several processes notice the same; and none of it counts that anybody was shown at another place, or
    that was noticed at a message of which two were shown, or in a room where nobody can tell which.
    """
    void = {(fault.room, fault.first) for fault in faults if fault.kind == "mismatched"}
    vague = {fault.room for fault in faults if fault.kind == "mismatched" and fault.first < fault.last}
    skipped: defaultdict[str, defaultdict[str, list[Skip]]] = defaultdict(lambda: defaultdict(list))
    for findings in told:
        for room, skips in findings.skips.items():
            for skip in skips:
                if (room, skip.seq) not in void and room not in vague:
                    skipped[room][skip.sender].append(skip)
    for room, senders in skipped.items():
        missing: dict[str, Ranges] = {}
        for sender, skips in senders.items():
            ranges = missing[sender] = Ranges()
            for skip in skips:
                ranges.add(skip.first, skip.last)
            for first, last in refused.get((room, sender), ()):
                ranges.remove(first, last)
        if any(missing.values()):
            for findings in told:
                if room in findings.records:
                    for _, (sender, counter) in messages(findings.records[room]):
                        if sender in missing:
                            missing[sender].remove(counter, counter)
        for sender, ranges in missing.items():
            for first, last in ranges:
                seq = min(skip.seq for skip in senders[sender] if skip.first <= last and skip.last >= first)
                number = "message" if first == last else "messages"
                detail = f"{number} {span(first, last)} of {sender}, neither refused nor stored"
                detail = f"{detail}: {seq} is a later one"
                yield (
                    Fault(kind="lost", room=room, bot=sender, first=seq, last=seq, detail=detail),
                    last - first + 1,
                )


def _short(told: list[Findings], heads: dict[str, int]) -> Iterator[tuple[str, Tail]]:
    """Yield the receivers that have not come to the head of their room."""
    for findings in told:
        for room, tails in findings.tails.items():
            for tail in tails:
                if tail.position < heads[room]:
                    yield room, tail


def _tail(room: str, tail: Tail, head: int) -> Fault:
    missing = span(tail.position + 1, head)
    detail = f"{tail.bot} was never shown {missing}: it stood at {tail.position} at the end"
    return Fault(kind="lost", room=room, bot=tail.bot, first=tail.position + 1, last=head, detail=detail)


def _slow(short: list[tuple[str, Tail]]) -> list[str]:
    slow = sum(tail.slow for _, tail in short)
    return (
        [f"{slow} bots that read slowly on purpose had not come to the end, which is no loss"] if slow else []
    )


def _mixed(faults: list[Fault]) -> list[Fault]:
    """Return the faults so that the first of each kind come first."""
    kinds = [[fault for fault in faults if fault.kind == kind] for kind in FAULTS]
    return [fault for row in zip_longest(*kinds) for fault in row if fault is not None]
