"""Tables of the page: the reports' tables, with a row limit and the columns that the filter uses."""

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
    "users": (("--limit", _TOP, "--by", "messages"), {"users": "Users, by messages sent"}),
    "sessions": (
        ("--limit", _TOP, "--by", "messages"),
        {"endings": "How sessions ended", "sessions": "Sessions, by messages sent"},
    ),
    "rtt": (("--top", "200"), {"sessions": "Sessions with the longest round trips"}),
    "slow": (("--top", _TOP), {"lags": "Lagging readers", "readers": "Slow readers"}),
    "errors": (("--limit", _TOP), {"trouble": "Trouble by kind", "lines": "Warnings and errors"}),
    "storms": (
        ("--top", "200"),
        {"storms": "Storms", "floods": "Floods", "flooders": "Closed for flooding", "refused": "Refused"},
    ),
    "audit": (("--top", "100"), {"audit": "What the log proves", "findings": "Findings of the audit"}),
}
"""For each report: its options, and the titles of the tables shown."""
_ORDER: Final = ("errors", "audit", "storms", "slow", "rooms", "users", "sessions", "rtt")
"""First those that may need action."""
_FILTER_COLUMNS: Final = {"node": "node", "room": "room", "username": "user"}
"""Columns that the filter compares."""


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of the page with its HTML id."""

    id: str
    report: str
    table: ReportTable
    title: str

    def embedded(self) -> dict[str, Any]:
        """Return the table for the page's scripts; times are Unix times in ms."""
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
    """Return a report's tables; none if it raises `UsageError`."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    REPORTS[report].add_arguments(parser)
    try:
        return REPORTS[report].run(log, parser.parse_args(options))
    except UsageError:  # e.g. nothing to compare; other reports may work
        return []


def collect_tables(log: EventLog) -> list[PageTable]:
    """Return all tables of the page, including empty ones."""
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
                "bad_lines", "--bad-lines", bad_lines.bad_lines_table(log), "Lines that are not log lines"
            ),
        )
    return found


def unix_millis(time: datetime | None) -> int | None:
    """Return a UTC time without a zone as Unix time in ms; None for None."""
    return None if time is None else round(time.replace(tzinfo=UTC).timestamp() * 1000)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return unix_millis(value)
    if isinstance(value, float):
        return json_value(float(f"{value:.6g}"))
    if isinstance(value, list | tuple):
        return [_cell(item) for item in value]
    return escape_unprintable(value) if isinstance(value, str) else json_value(value)
