"""Result tables of a report: plain values, and columns whose kind says how to format them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ColumnKind = Literal["text", "count", "rate", "ms", "us", "seconds", "bytes", "time", "percent", "spark"]
"""`rate` is per second, `time` a datetime in UTC without a zone, `percent` from 0 to 100, `spark` a list of
numbers. Any value may be None: unknown or not applicable."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column: name (for JSON and CSV), title (for people), kind, and an explanation."""

    name: str
    title: str
    kind: ColumnKind
    help: str = ""
    drop_order: int = 0
    """Columns from 1 on are dropped on a narrow terminal, the highest numbers first. 0 is always shown."""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A named table: each row has a value for each column; notes are sentences shown below it."""

    name: str
    title: str
    columns: Sequence[ReportColumn]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())
    vertical: bool = False
    """Show each column on a line of its own, for tables of few rows and many columns."""
