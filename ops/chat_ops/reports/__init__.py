"""The reports, by the name they are asked for with.

A report is a module with `HELP` (a sentence), `add_arguments(parser)` and `run(log, args) -> list[Table]`.
"""

import argparse
import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final, Protocol, cast

from chat_ops.log import Log
from chat_ops.table import Table


class Report(Protocol):
    """What a report's module has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of its own."""

    def run(self, log: Log, args: argparse.Namespace) -> list[Table]:
        """Answer."""


NAMES: Final = (
    "summary",
    "timeline",
    "rooms",
    "users",
    "sessions",
    "latency",
    "rtt",
    "errors",
    "slow",
    "storms",
    "audit",
    "compare",
    "sql",
)
REPORTS: Final[Mapping[str, Report]] = {
    name: cast(Report, importlib.import_module(f"chat_ops.reports.{name}"))
    for name in NAMES
    if find_spec(f"chat_ops.reports.{name}")
}
