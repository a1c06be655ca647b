"""What tests tell audits, and what comes of it."""

from msgspec import msgpack

from chat_swarm.audit.merge import reckon
from chat_swarm.audit.process_audit import Audit, Receiver
from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import AuditResult


def end(*audits: Audit, notes: tuple[str, ...] = ()) -> AuditResult:
    """Return the result of these processes, whose findings travel as MessagePack."""
    return reckon([msgpack.decode(msgpack.encode(audit.final())) for audit in audits], notes=notes)


def found(result: AuditResult) -> dict[str, int]:
    """Return the faults that were counted; those that are told agree with the verdict."""
    assert list(result.counts) == list(FAULTS)
    counted = {kind: number for kind, number in result.counts.items() if number}
    assert {fault.kind for fault in result.faults} == set(counted)
    assert result.passed == (not counted and not result.notes)
    return counted


def deliver(audit: Audit, receiver: Receiver, *runs: tuple[int, int]) -> None:
    """Show a receiver some runs, as the engine does."""
    for first, last in runs:
        if first == receiver.position + 1:
            receiver.position = last
        else:
            audit.odd(receiver, first, last)


def says(audit: Audit, *messages: tuple[int, str, int]) -> None:
    for seq, sender, counter in messages:
        audit.shown("hall", seq, sender, counter)
