"""Builds log lines for tests, and runs reports on them."""

import contextlib
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from chat_ops.cli import main

START_TIME = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
Row = dict[str, Any]


def at(seconds: float) -> str:
    """Return the time `seconds` after `START_TIME` in the log's format."""
    return (START_TIME + timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def log_line(seconds: float, event: str, /, *, node: str = "n", level: str = "info", **fields: Any) -> Row:
    """Return a log line; fields that are None are left out."""
    given = {"ts": at(seconds), "level": level, "event": event, "node": node, **fields}
    return {key: value for key, value in given.items() if value is not None}


def encoded_histogram(*values: int) -> str:
    """Return durations (µs) as the server encodes them."""
    counts = HdrHistogram(1, 3_600_000_000, 3)
    for value in values:
        counts.record_value(value)
    encoded: bytes = counts.encode()
    return encoded.decode()


def interval_line(seconds: float, /, *, node: str = "n", **fields: Any) -> Row:
    """Return the line of a 10 s interval that ends at `seconds`."""
    usual: Row = {"interval_s": 10.0, "sessions": 1, "messages": 0, "opened": 0, "closed": {}, "refused": {}}
    return log_line(seconds, "interval", node=node, **{**usual, "errors": {}, "lagging": 0, **fields})


def write_log(path: Path, lines: Iterable[Row]) -> str:
    """Write the lines in this order; return the path as an argument."""
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return str(path)


class ReportAnswer:
    """Output of `chat-logs`: rows by table, exit code, and standard error."""

    def __init__(self, *args: object) -> None:
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            self.code = main([str(arg) for arg in args])
        self.text = out.getvalue()
        self.errors = errors.getvalue()

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table from JSON output."""
        found = [json.loads(text) for text in self.text.splitlines()]
        return [row for row in found if row.pop("table") == table]


def run_report(report: str, *args: object) -> ReportAnswer:
    """Run `chat-logs REPORT --json …`, which must succeed."""
    answer = ReportAnswer(report, "--json", *args)
    assert answer.code == 0, answer.errors
    return answer
