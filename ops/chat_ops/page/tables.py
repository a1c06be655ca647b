"""The tables of the page: the reports' own, bounded, with what the browser needs to filter and sort them.

Knows which tables are shown and in what order. Must not know how they are drawn.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from chat_ops.log import bad_lines
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import Log
from chat_ops.output.formatting import visible
from chat_ops.output.jsonl import plain
from chat_ops.reports import REPORTS
from chat_ops.table import Table

MOST_ROWS: Final = 1_000
_TOP: Final = str(MOST_ROWS)

_REPORTS: Final[dict[str, tuple[Sequence[str], dict[str, str]]]] = {
    "rooms": (("--limit", _TOP), {"rooms": "Busiest rooms"}),
    "users": (("--limit", _TOP, "--by", "messages"), {"users": "Users, by what they said"}),
    "sessions": (
        ("--limit", _TOP, "--by", "messages"),
        {"endings": "How sessions ended", "sessions": "Sessions, by what was said"},
    ),
    "rtt": (("--top", "200"), {"sessions": "Sessions with the longest round trips"}),
    "slow": (("--top", _TOP), {"lags": "Readers that lagged", "readers": "Slow readers"}),
    "errors": (("--limit", _TOP), {"trouble": "Trouble by kind", "lines": "Lines that warn"}),
    "storms": (
        ("--top", "200"),
        {"storms": "Storms", "floods": "Floods", "flooders": "Closed for flooding", "refused": "Turned away"},
    ),
    "audit": (("--top", "100"), {"audit": "What the log proves", "findings": "Findings of the audit"}),
}
"""For each report its options, and which of its tables are shown under which title."""
_ORDER: Final = ("errors", "audit", "storms", "slow", "rooms", "users", "sessions", "rtt")
"""First what somebody may have to act on."""
_KEYS: Final = {"node": "node", "room": "room", "username": "user"}
"""Columns that the filter looks at."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A table of the page, under an id that is its own."""

    id: str
    report: str
    table: Table
    title: str

    def embedded(self) -> dict[str, Any]:
        """Return the table as the page's scripts read it: times as milliseconds since 1970."""
        return {
            "id": self.id,
            "columns": [
                {
                    "name": column.name,
                    "title": column.title,
                    "kind": column.kind,
                    "help": column.help,
                    "aside": column.aside > 1,
                    "filter": _KEYS.get(column.name),
                }
                for column in self.table.columns
            ],
            "rows": [[_cell(value) for value in row] for row in self.table.rows],
        }


def ask(name: str, log: Log, *options: str) -> list[Table]:
    """Return a report's tables; what a report cannot say of this log is left out."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    REPORTS[name].add_arguments(parser)
    try:
        return REPORTS[name].run(log, parser.parse_args(options))
    except UsageError:  # e.g. nothing to compare: other reports may have an answer
        return []


def tables(log: Log) -> list[Shown]:
    """Return all tables of the page, also those without rows."""
    found = []
    for name in _ORDER:
        options, titles = _REPORTS[name]
        by_name = {table.name: table for table in ask(name, log, *options)}
        found += [
            Shown(f"{name}-{table}", name, by_name[table], title)
            for table, title in titles.items()
            if table in by_name
        ]
    if log.bad:
        found.insert(
            0, Shown("bad_lines", "--bad-lines", bad_lines.table(log), "Lines that are no log lines")
        )
    return found


def millis(moment: datetime | None) -> int | None:
    """Return a time in UTC, which has no zone of its own, as milliseconds since 1970."""
    return None if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return millis(value)
    if isinstance(value, float):
        return plain(float(f"{value:.6g}"))
    if isinstance(value, list | tuple):
        return [_cell(item) for item in value]
    return visible(value) if isinstance(value, str) else plain(value)
