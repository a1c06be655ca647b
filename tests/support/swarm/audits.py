"""Feeds audits, merges them and reads their faults, for their tests."""

from typing import NamedTuple
from zlib import crc32

from msgspec import msgpack

from chat_swarm.audit.merge import merge_audits
from chat_swarm.audit.process_audit import ProcessAudit, Receiver
from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import AuditResult


def merged_result(*audits: ProcessAudit, notes: tuple[str, ...] = ()) -> AuditResult:
    """Return the merged result of these processes, whose reports are sent as MessagePack."""
    return merge_audits(
        [msgpack.decode(msgpack.encode(audit.final_report())) for audit in audits], notes=notes
    )


def found_faults(result: AuditResult) -> dict[str, int]:
    """Return the counted faults, after checking that texts and verdict agree with them."""
    assert list(result.counts) == list(FAULTS)
    counted = {kind: number for kind, number in result.counts.items() if number}
    assert {fault.kind for fault in result.faults} == set(counted)
    assert result.passed == (not counted and not result.notes)
    return counted


def deliver(audit: ProcessAudit, receiver: Receiver, *runs: tuple[int, int]) -> None:
    """Deliver some runs to a receiver, as a bot does."""
    for first, last in runs:
        if first == receiver.position + 1:
            receiver.position = last
        else:
            audit.observe_out_of_sequence(receiver, first, last)


class Shown(NamedTuple):
    """A message as a receiver was shown it; `text` is all contents besides seq and sender."""

    seq: int
    sender: str
    counter: int
    text: str = ""
    line: bytes = b""

    @property
    def digest(self) -> int:
        return crc32(repr(self[:4]).encode()) or 1


def observe_messages(audit: ProcessAudit, *messages: tuple[int, str, int], bot: str = "carl") -> None:
    """Show messages of the hall to a bot, as (seq, sender, counter)."""
    audit.compare(bot, "hall", [Shown(*message) for message in messages])
