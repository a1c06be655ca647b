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
from chat_ops.log.event_log import EventLog
from chat_ops.output.formatting import escape_unprintable
from chat_ops.output.jsonl import json_value
from chat_ops.reports import REPORTS
from chat_ops.table import ReportTable

MAX_ROWS: Final = 1_000
_TOP: Final = str(MAX_ROWS)

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
_FILTER_COLUMNS: Final = {"node": "node", "room": "room", "username": "user"}
"""Columns that the filter looks at."""


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of the page, under an id that is its own."""

    id: str
    report: str
    table: ReportTable
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
                    "aside": column.drop_order > 1,
                    "filter": _FILTER_COLUMNS.get(column.name),
                }
                for column in self.table.columns
            ],
            "rows": [[_cell(value) for value in row] for row in self.table.rows],
        }


def run_report(report: str, log: EventLog, *options: str) -> list[ReportTable]:
    """Return a report's tables; what a report cannot say of this log is left out."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    REPORTS[report].add_arguments(parser)
    try:
        return REPORTS[report].run(log, parser.parse_args(options))
    except UsageError:  # e.g. nothing to compare: other reports may have an answer
        return []


def collect_tables(log: EventLog) -> list[PageTable]:
    """Return all tables of the page, also those without rows."""
    found = []
    for name in _ORDER:
        options, titles = _REPORTS[name]
        by_name = {table.name: table for table in run_report(name, log, *options)}
        found += [
            PageTable(f"{name}-{table}", name, by_name[table], title)
            for table, title in titles.items()
            if table in by_name
        ]
    if log.bad_lines:
        found.insert(
            0,
            PageTable(
                "bad_lines", "--bad-lines", bad_lines.bad_lines_table(log), "Lines that are no log lines"
            ),
        )
    return found


def unix_millis(time: datetime | None) -> int | None:
    """Return a time in UTC, which has no zone of its own, as milliseconds since 1970."""
    return None if time is None else round(time.replace(tzinfo=UTC).timestamp() * 1000)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return unix_millis(value)
    if isinstance(value, float):
        return json_value(float(f"{value:.6g}"))
    if isinstance(value, list | tuple):
        return [_cell(item) for item in value]
    return escape_unprintable(value) if isinstance(value, str) else json_value(value)
