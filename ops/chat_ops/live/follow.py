"""The command `chat-logs follow`: live screen on a terminal, otherwise one line per interval.

Reads the growing file itself, without DuckDB.
"""

import argparse
import dataclasses
import json
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from chat_ops.live import dashboard
from chat_ops.live.file_tail import FileTail
from chat_ops.live.keyboard import Keyboard
from chat_ops.live.snapshot import LogInterval, ServerSnapshot
from chat_ops.live.stdin_lines import StdinLines
from chat_ops.log.errors import UsageError
from chat_ops.output.formatting import format_duration
from chat_ops.output.jsonl import json_value
from chat_ops.output.terminal import correct_size_variables

HELP: Final = "watch a running server: rates, latency, errors, slow readers; survives log rotation"

POLL_INTERVAL_S: Final = 0.25
"""Seconds between two reads of the file."""
SILENT_AFTER_INTERVALS: Final = 3
"""Interval lengths without a line after which the server counts as silent."""
QUIT_KEYS: Final = frozenset("qQ\x03\x04")
_UNSUPPORTED_OPTIONS: Final = (
    "since",
    "until",
    "room",
    "user",
    "anonymize",
    "anonymize_key",
    "memory",
    "threads",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the log file and the output format."""
    parser.add_argument(
        "--json",
        dest="form",
        action="store_const",
        const="json",
        default=argparse.SUPPRESS,
        help="one JSON object per interval instead of a screen",
    )
    parser.add_argument(
        "file", metavar="FILE", help="the log, which need not exist yet; - for standard input"
    )


def main(args: argparse.Namespace) -> int:
    """Follow until `q`, Ctrl-C or the end of standard input; return exit code 0. Raises `UsageError`."""
    _check_arguments(args)
    signal.signal(signal.SIGTERM, _raise_interrupt)  # to restore the terminal
    signal.signal(signal.SIGHUP, _raise_interrupt)
    source: FileTail | StdinLines = StdinLines() if args.file == "-" else FileTail(Path(args.file))
    snapshot = ServerSnapshot(args.node or ())
    correct_size_variables()
    console = Console(highlight=False, emoji=False, markup=False)
    with suppress(KeyboardInterrupt):
        if console.is_terminal and not console.is_dumb_terminal and args.form is None:
            _run_screen(source, snapshot, args.file, console)
        else:
            _print_lines(source, snapshot, as_json=args.form == "json")
    source.close()
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    for name in _UNSUPPORTED_OPTIONS:
        if getattr(args, name, None):
            raise UsageError(f"follow shows all new lines and does not support --{name.replace('_', '-')}")
    if args.form == "csv":
        raise UsageError("follow does not support --csv: use --json, or pipe it for text lines")
    if args.file == "-" and sys.stdin is None:
        raise UsageError("standard input is closed")
    if args.file != "-" and Path(args.file).is_dir():
        raise UsageError(f"{args.file} is a directory: give the log file in it")


def _raise_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _run_screen(
    source: FileTail | StdinLines, snapshot: ServerSnapshot, title: str, console: Console
) -> None:
    with Keyboard() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            for line in source.lines():
                snapshot.add_line(line)
            width, height = console.size
            status = source.trouble or _silence_note(snapshot) or ("the end" if source.ended else "")
            keys = f"{status}; q quits" if status else "q quits"
            live.update(dashboard.render_screen(snapshot, title, keys, width, height), refresh=True)
            if QUIT_KEYS & set(keyboard.wait(POLL_INTERVAL_S)):
                return


def _silence_note(snapshot: ServerSnapshot) -> str:
    """Return a note if intervals have stopped: the server has ended, hangs, or logs elsewhere."""
    if not snapshot.history:
        return ""
    last = snapshot.history[-1]
    silent = (datetime.now(UTC) - last.at).total_seconds()
    return (
        f"no interval for {format_duration(silent)}"
        if silent > SILENT_AFTER_INTERVALS * last.seconds + 1
        else ""
    )


def _print_lines(source: FileTail | StdinLines, snapshot: ServerSnapshot, *, as_json: bool) -> None:
    with Keyboard() as keyboard:
        while True:
            for line in source.lines():
                interval = snapshot.add_line(line)
                if interval is not None:
                    sys.stdout.write(
                        _as_json(interval) if as_json else f"{dashboard.format_interval(interval)}\n"
                    )
                    sys.stdout.flush()
            if source.ended or QUIT_KEYS & set(keyboard.wait(POLL_INTERVAL_S)):
                return


def _as_json(interval: LogInterval) -> str:
    return json.dumps(json_value(dataclasses.asdict(interval))) + "\n"
