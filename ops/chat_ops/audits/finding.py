"""Results of audit checks: verdicts and findings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

MAX_FINDINGS: Final = 10_000
"""Findings kept per check, the wrong ones first: a file given twice repeats every line."""


class AuditVerdict(StrEnum):
    """Result of a check."""

    FINE = "fine"
    NOTICE = "notice"  # worth a look, not necessarily wrong
    WRONG = "wrong"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: time (UTC), place and description."""

    at: datetime | None
    node: str
    text: str
    room: str = ""
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """A check with its verdict, an explanation, and how often it found what its name says."""

    name: str
    verdict: AuditVerdict
    count: int | None
    text: str
    findings: Sequence[Finding] = field(default=())


def check_of_findings(
    name: str, text: str, findings: Sequence[Finding], count: int | None = None
) -> AuditCheck:
    """Return a check with the verdict of its worst finding; `count` defaults to their number."""
    wrong = any(one.wrong for one in findings)
    verdict = AuditVerdict.WRONG if wrong else AuditVerdict.NOTICE if findings else AuditVerdict.FINE
    return AuditCheck(name, verdict, len(findings) if count is None else count, text, findings)
