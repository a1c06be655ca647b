"""The command `chat-logs`: which report, of which files, shown how.

Knows the options and the exit codes (0 fine; 1 a bound is broken; 2 wrong usage, or nothing to read). Must not
know how anything is computed.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from chat_ops.opening import open_log
from chat_ops.output import csv, jsonl, terminal
from chat_ops.problems import BoundBrokenError, UsageError
from chat_ops.reports import REPORTS
from chat_ops.table import Table

OK: Final = 0
BROKEN: Final = 1
USAGE: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = _parser().parse_args(argv)
    try:
        with open_log(args) as log:
            tables = REPORTS[args.report].run(log, args)
    except BoundBrokenError as broken:
        _show(broken.tables, args)
        return BROKEN
    except UsageError as error:
        sys.stderr.write(f"chat-logs: {error}\n")
        return USAGE
    _show(tables, args)
    return OK


def _show(tables: list[Table], args: argparse.Namespace) -> None:
    if args.form == "json":
        jsonl.write(tables, sys.stdout)
    elif args.form == "csv":
        csv.write(tables, sys.stdout)
    else:
        terminal.show(tables, Console())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("chat-logs")
    reports = parser.add_subparsers(dest="report", required=True, metavar="REPORT")
    for name, report in REPORTS.items():
        one = reports.add_parser(name, help=report.HELP, description=report.HELP)
        report.add_arguments(one)
        one.add_argument("--json", dest="form", action="store_const", const="json")
        one.add_argument("--csv", dest="form", action="store_const", const="csv")
        one.add_argument("files", nargs="+", metavar="FILE")
    return parser
