"""The reports, by the name they are asked for with.

A report is a module with `HELP` (a sentence), `add_arguments(parser)` and `run(log, args) -> list[Table]`.
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
    """What a report's module has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of its own."""

    def run(self, log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
        """Answer."""


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
"""In the order in which `--help` lists them."""
