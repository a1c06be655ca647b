"""What a check says: its verdict, and what it found.

Knows words. Must not know how anything is checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

MOST: Final = 10_000
"""Findings of one check that are kept, the wrong ones first: a file given twice repeats every line."""


class Verdict(StrEnum):
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
    says: str
    room: str = ""
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, how it ended, and what it means in a sentence; `count` is of what the name says."""

    name: str
    verdict: Verdict
    count: int | None
    says: str
    findings: Sequence[Finding] = field(default=())


def judged(name: str, says: str, findings: Sequence[Finding], count: int | None = None) -> Check:
    """Return a check that is as bad as the worst of its findings."""
    wrong = any(one.wrong for one in findings)
    verdict = Verdict.WRONG if wrong else Verdict.NOTICE if findings else Verdict.FINE
    return Check(name, verdict, len(findings) if count is None else count, says, findings)
