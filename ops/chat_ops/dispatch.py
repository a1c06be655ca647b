"""Options of `chat-logs`, and dispatch to the reports."""

import argparse
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from chat_cli import __version__
from chat_cli.streams import print_error
from chat_ops import output
from chat_ops.exit_codes import EXIT_BOUND_BROKEN, EXIT_OK, EXIT_USAGE
from chat_ops.log import bad_lines, cli_options
from chat_ops.log.errors import BoundBrokenError, UsageError
from chat_ops.reports import REPORTS
from chat_ops.table import ReportTable

_PROGRAM: Final = "chat-logs"
_INTRODUCTION: Final = """\
Analyse the log of a Greenroom server: users, load, latency, errors and slow readers.

  chat-logs summary server.log
  chat-logs timeline --since yesterday --every 5m /var/log/greenroom/*.log*
  zstdcat old.zst | chat-logs sql "select event, count(*) from lines group by 1" -

Files may be compressed (gzip, zstd), rotated, of several nodes, or patterns; `-` is standard input.
"""
_EXITS: Final = (
    "exit codes: 0 success; 1 a bound of --fail-if is broken; 2 wrong usage, nothing to read, or output that"
    " cannot be written"
)


class Command(Protocol):
    """Interface of a command that is not a report: it opens the log and writes its output itself."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options, and its log files."""

    def main(self, args: argparse.Namespace) -> int:
        """Run the command; return the exit code."""


NON_REPORT_COMMANDS: Final[Mapping[str, str]] = {
    "report": "chat_ops.page.command",
    "follow": "chat_ops.live.follow",
}
"""Modules of `report`, which makes the HTML page, and `follow`; the reports are in reports/__init__.py."""


def dispatch(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return the exit code."""
    args = _parser().parse_args(argv)
    try:
        return int(args.act(args))
    except UsageError as error:
        print_error(_PROGRAM, str(error))
        return EXIT_USAGE


def _run_report(args: argparse.Namespace) -> int:
    code = EXIT_OK
    with cli_options.open_log(args) as log:
        bad = [bad_lines.bad_lines_table(log)] if args.bad_lines else []  # before `sql` restricts file access
        try:
            tables = REPORTS[args.report].run(log, args)
        except BoundBrokenError as broken:
            tables, code = broken.tables, EXIT_BOUND_BROKEN
        tables = [*tables, *bad]
        if not bad:
            log.require_log_lines()
        output.show(_select_table(tables, args.table), args.form)
        extent = log.extent
        if not any(table.rows for table in tables):
            span = f"; the log is from {extent.first} to {extent.last}" if extent.first else ""
            print_error(
                _PROGRAM,
                f"nothing to report: {extent.lines - extent.bad_lines} good lines"
                f" in {len(log.input_files)} files{span}",
            )
        log.require_log_lines()
        if extent.bad_lines and not args.bad_lines:
            print_error(
                _PROGRAM,
                f"{extent.bad_lines} of {extent.lines} lines are not log lines (--bad-lines lists them)",
            )
    return code


def _select_table(tables: list[ReportTable], name: str | None) -> list[ReportTable]:
    if name is None:
        return tables
    chosen = [table for table in tables if table.name == name]
    if not chosen:
        raise UsageError(f"no table {name!r} in this report: {', '.join(table.name for table in tables)}")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        _PROGRAM,
        description=_INTRODUCTION,
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"chat-logs {__version__}")
    _add_output_options(parser, {})
    subparsers = parser.add_subparsers(dest="report", required=True, metavar="REPORT")
    for name, report in REPORTS.items():
        subparser = subparsers.add_parser(
            name, help=report.HELP, description=f"{report.HELP[:1].upper()}{report.HELP[1:]}."
        )
        report.add_arguments(subparser)
        if not any(action.dest == "files" for action in subparser._actions):  # noqa: SLF001  a report may define it
            subparser.add_argument(
                "files", nargs="+", metavar="FILE", help="log files, patterns, or - for standard input"
            )
        _add_output_options(subparser, {"default": argparse.SUPPRESS})
        subparser.set_defaults(act=_run_report)
    for name, module in NON_REPORT_COMMANDS.items():
        command = cast(Command, importlib.import_module(module))
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        cli_options.add_options(subparser, default=argparse.SUPPRESS)
        subparser.set_defaults(act=command.main)
    return parser


def _add_output_options(parser: argparse.ArgumentParser, argument_defaults: dict[str, Any]) -> None:
    """Add the common options; they are valid before and after the report's name."""
    shown = parser.add_argument_group("output")
    shown.add_argument(
        "--json",
        dest="form",
        action="store_const",
        const="json",
        help="one JSON object per row and line",
        **argument_defaults,
    )
    shown.add_argument(
        "--csv", dest="form", action="store_const", const="csv", help="comma-separated", **argument_defaults
    )
    shown.add_argument("--table", metavar="NAME", help="only this table of the report", **argument_defaults)
    shown.add_argument(
        "--bad-lines", action="store_true", help="also list lines that are not log lines", **argument_defaults
    )
    cli_options.add_options(parser, **argument_defaults)
