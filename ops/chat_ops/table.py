"""A report's answer: tables of plain values, each column with a kind that says how to show it.

Knows names, kinds and rows. Must not know where the values came from, nor how they are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ColumnKind = Literal["text", "count", "rate", "ms", "us", "seconds", "bytes", "time", "percent", "spark"]
"""`rate` is per second, `time` a datetime in UTC without a zone, `percent` from 0 to 100, `spark` a list of
numbers. Any value may be None: there is nothing to say."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column: its name for programs, its title for people, its kind, and a sentence that explains it."""

    name: str
    title: str
    kind: ColumnKind
    help: str = ""
    drop_order: int = 0
    """From 1 on, it is left out on a terminal that is too narrow for all columns: the higher, the sooner."""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Rows of values, one for each column; notes are sentences to be read with them."""

    name: str
    title: str
    columns: Sequence[ReportColumn]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())
    vertical: bool = False
    """Few rows of many columns: for people, each column is a line (or part of one)."""
