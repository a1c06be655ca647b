"""The reports of `chat-logs`, one a module, by name.

A report has `HELP` (a sentence), `add_arguments(parser)` and `run(log, args) -> list[ReportTable]`.
A new one: a module here, its import and a row of `REPORTS`; cli.py needs no change.
Imports `audits`, `compare`, `queries`, `stats`, `log`, `table` and `chat_server.vocabulary`; never `output`,
`page` or `live`.
Open `summary.py` first.
"""

import argparse
from collections.abc import Mapping
from typing import Final, Protocol

from chat_ops.log.event_log import EventLog
from chat_ops.reports import (
    audit,
    compare,
    errors,
    latency,
    rooms,
    rtt,
    sessions,
    slow,
    sql,
    storms,
    summary,
    timeline,
    users,
)
from chat_ops.table import ReportTable


class Report(Protocol):
    """Interface of a report module."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the report's own options."""

    def run(self, log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
        """Return the report's tables."""


REPORTS: Final[Mapping[str, Report]] = {
    "summary": summary,
    "timeline": timeline,
    "rooms": rooms,
    "users": users,
    "sessions": sessions,
    "latency": latency,
    "rtt": rtt,
    "errors": errors,
    "slow": slow,
    "storms": storms,
    "audit": audit,
    "compare": compare,
    "sql": sql,
}
"""In the order of `--help`."""
