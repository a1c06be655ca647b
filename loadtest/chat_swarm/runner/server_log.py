"""Reads what the server's own log says of a run (`--server-log`): its latencies, without the path to it.

The log is the server's JSON lines (docs/logs.md). Of the interval lines written since the run began, those of
the headline's seconds are added up; everything else is skipped.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import ServerLogFigures

_INTERVAL_MARK: Final = b'"event":"interval"'
_MAX_LINE_BYTES: Final = 1 << 20


class _IntervalLine(Struct):
    """The fields of an interval line that are read; histograms are base64 (HdrHistogram V2)."""

    ts: datetime
    event: str
    interval_s: float = 0.0
    accept_to_commit: str = ""
    commit_to_sent: str = ""
    loop_lag_max_ms: float = 0.0


class ServerLog:
    """A log file, from when this is created."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = path.stat()
            self._inode, self._start = found.st_ino, found.st_size
        except OSError:  # it may be created later
            self._inode, self._start = 0, 0

    def figures(self, since_unix: float, until_unix: float) -> ServerLogFigures:
        """Return what the intervals that ended in this time have in common with it."""
        result = ServerLogFigures(path=str(self._path))
        accepted, committed = Histogram(), Histogram()
        try:
            for line in self._interval_lines():
                if not since_unix < line.ts.timestamp() <= until_unix + line.interval_s:
                    continue
                result.lines += 1
                for encoded, histogram in (
                    (line.accept_to_commit, accepted),
                    (line.commit_to_sent, committed),
                ):
                    if encoded:
                        histogram.add(Histogram.decode(encoded.encode()))
                result.loop_lag_max_us = max(result.loop_lag_max_us, round(line.loop_lag_max_ms * 1000))
        except OSError as error:
            result.problem = f"it cannot be read: {error.strerror or error}"
        except ValueError as error:
            result.problem = str(error)
        if not result.lines and not result.problem:
            result.problem = (
                "it has no interval lines of that time: is it this server's log (--log-file), and is the run"
                " longer than its --log-interval?"
            )
        result.accept_to_commit, result.commit_to_sent = accepted.quantiles(), committed.quantiles()
        return result

    def _interval_lines(self) -> Iterator[_IntervalLine]:
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_ino == self._inode and found.st_size >= self._start:
                file.seek(self._start)  # else it was rotated during the run
            while line := file.readline(_MAX_LINE_BYTES):
                if _INTERVAL_MARK not in line:
                    continue
                try:
                    parsed = msgspec.json.decode(line, type=_IntervalLine)
                except msgspec.DecodeError:
                    continue  # it is being written, or not a log line
                if parsed.event == "interval":
                    yield parsed


def find_problem(path: Path) -> str:
    """Return why a log cannot be read, with the way out; "" if it can."""
    try:
        with path.open("rb") as file:
            if not path.is_file():
                return f"--server-log: {path} is not a file; give the one of chat-server's --log-file"
            file.read(1)
    except OSError as error:
        return f"--server-log: {path} cannot be read: {error.strerror or error}"
    return ""
