"""What a check says: its verdict, and what it found.

Knows words. Must not know how anything is checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

MAX_FINDINGS: Final = 10_000
"""Findings of one check that are kept, the wrong ones first: a file given twice repeats every line."""


class AuditVerdict(StrEnum):
    """How a check ended."""

    FINE = "fine"
    NOTICE = "notice"  # worth a look; nothing of it need be wrong
    WRONG = "wrong"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: when (UTC), where, and what."""

    at: datetime | None
    node: str
    text: str
    room: str = ""
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What was checked, how it ended, and what it means in a sentence; `count` is of what the name says."""

    name: str
    verdict: AuditVerdict
    count: int | None
    text: str
    findings: Sequence[Finding] = field(default=())


def check_of_findings(
    name: str, text: str, findings: Sequence[Finding], count: int | None = None
) -> AuditCheck:
    """Return a check that is as bad as the worst of its findings."""
    wrong = any(one.wrong for one in findings)
    verdict = AuditVerdict.WRONG if wrong else AuditVerdict.NOTICE if findings else AuditVerdict.FINE
    return AuditCheck(name, verdict, len(findings) if count is None else count, text, findings)
