"""Which receivers were shown something else than the others, for each seq that differs; over all processes.

All members of a room are due identical bytes, so of two variants one is not what the server should have sent,
or was changed on the way. The variant of most receivers counts as right; if as many have one as the other,
the sender's own does, where they differ in what the sender chose itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from chat_swarm.audit.digest import are_different
from chat_swarm.audit.findings import Conflict, ProcessFindings
from chat_swarm.audit.log_diff import differing_seqs, digest_at, sender_at
from chat_swarm.model.schema import AuditFault

_NAMES_SHOWN: Final = 5
_EXCERPT_CHARS: Final = 12
"""Characters shown before and after the first one that differs."""
_CHOSEN_BY_SENDER: Final = frozenset({"message", "ref"})

Place = tuple[str, int]
"""(room, seq)."""


class _Variant(Struct):
    """One content of a seq, and its receivers in all processes."""

    digest: int
    bots: set[str] = field(default_factory=set)
    unnamed: int = 0
    line: bytes = b""

    @property
    def receivers(self) -> int:
        return len(self.bots) + self.unnamed

    @property
    def names(self) -> str:
        """Its receivers, as text."""
        names = sorted(self.bots)[:_NAMES_SHOWN]
        if more := self.receivers - len(names):
            names.append(f"{more:,} more")
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "one that left"


def find_conflicts(processes: Sequence[ProcessFindings], altered: Iterable[Place]) -> Iterator[AuditFault]:
    """Yield a fault for each seq of which receivers were shown different messages.

    `altered`: messages whose senders were shown another text than they had sent.
    """
    local = [{(one.room, one.seq): one for one in findings.conflicts} for findings in processes]
    places = {place for conflicts in local for place in conflicts}
    for room in {room for findings in processes for room in findings.records}:
        records = [findings.records[room] for findings in processes if room in findings.records]
        places.update((room, seq) for seq in differing_seqs(records))
    untrue = set(altered)
    for room, seq in sorted(places):
        variants: list[_Variant] = []
        sender = ""
        for findings, conflicts in zip(processes, local, strict=True):
            found, name = _variants_of_process(findings, conflicts.get((room, seq)), room, seq)
            sender = sender or name
            for variant in found:
                _merge(variants, variant)
        yield _judge(room, seq, variants, "" if (room, seq) in untrue else sender)


def _variants_of_process(
    findings: ProcessFindings, conflict: Conflict | None, room: str, seq: int
) -> tuple[list[_Variant], str]:
    """Return what the receivers of one process were shown, and the sender's name, if known."""
    shown = {tail.bot for tail in findings.tails.get(room, ()) if tail.has_received(seq)}
    if conflict is None:
        record = findings.records.get(room)
        digest = digest_at(record, seq) if record is not None else 0
        if record is None or not digest:
            return [], ""
        return [_Variant(digest, shown)], sender_at(record, seq)
    variants = [_Variant(one.digest, set(one.bots), one.unnamed, one.line) for one in conflict.variants]
    variants[0].bots |= shown.difference(*(variant.bots for variant in variants[1:]))
    return variants, conflict.sender


def _merge(variants: list[_Variant], new: _Variant) -> None:
    for variant in variants:
        if not are_different(variant.digest, new.digest):
            variant.digest = max(variant.digest, new.digest)
            variant.bots |= new.bots
            variant.unnamed += new.unnamed
            variant.line = variant.line or new.line
            return
    variants.append(new)


def _judge(room: str, seq: int, variants: list[_Variant], sender: str) -> AuditFault:
    """Return the fault of a seq; `sender` is "" if unknown, or if it was itself shown another text."""
    most = max(variant.receivers for variant in variants)
    likely = [variant for variant in variants if variant.receivers == most]
    if len(likely) > 1:
        likely = _chosen_by_sender(likely, sender) or likely
    right = likely[0]
    wrong = [variant for variant in variants if variant is not right]
    others = right.names if len(likely) > 1 or right.receivers == 1 else f"{right.receivers:,} others"
    parts = []
    for variant in wrong:
        was = "were" if variant.receivers > 1 else "was"
        parts.append(f"{variant.names} {was} shown {_difference(variant.line, right.line, others)}")
    detail = "; ".join(parts)
    if len(likely) > 1:
        detail += " (as many receivers each: which of them is right is unknown)"
        wrong = likely
    bot = ", ".join(variant.names for variant in wrong if variant.receivers)
    return AuditFault(kind="mismatched", room=room, bot=bot, first=seq, last=seq, detail=detail)


def _chosen_by_sender(likely: list[_Variant], sender: str) -> list[_Variant]:
    """Return the sender's own variant if all others differ from it in what the sender chose, else none."""
    own = [variant for variant in likely if sender in variant.bots]
    rest = [variant for variant in likely if variant not in own]
    if own and all(_differing_fields(own[0].line, one.line).keys() & _CHOSEN_BY_SENDER for one in rest):
        return own
    return []


def _difference(line: bytes, right: bytes, others: str) -> str:
    """Return what differs between two frames, in words."""
    if not line or not right:
        return f"another message than {others}"
    fields = _differing_fields(line, right)
    if not fields:
        return f"other bytes than {others} (the fields are the same)"
    parts = []
    for name, (one, other) in fields.items():
        if isinstance(one, str) and isinstance(other, str):
            place = next(
                (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
                min(len(one), len(other)),
            )
            parts.append(f"`{name}` {_excerpt(one, place)} instead of {_excerpt(other, place)}")
        else:
            parts.append(f"`{name}` {one!r} instead of {other!r}")
    return f"{', '.join(parts)} as {others}"


def _excerpt(text: str, place: int) -> str:
    start, end = max(0, place - _EXCERPT_CHARS), place + _EXCERPT_CHARS
    return f"{'…' if start else ''}{text[start:end]!r}{'…' if end < len(text) else ''}"


def _differing_fields(line: bytes, right: bytes) -> dict[str, tuple[Any, Any]]:
    """Return the fields of two frames that differ, with both values; None for a missing one."""
    one, other = _fields(line), _fields(right)
    return {
        name: (one.get(name), other.get(name))
        for name in (*other, *(one.keys() - other.keys()))
        if one.get(name) != other.get(name)
    }


def _fields(line: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:  # the frame was longer than what is kept of it
        return {}
