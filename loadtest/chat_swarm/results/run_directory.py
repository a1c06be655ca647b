"""Writes (atomically) and reads the files of a run directory.

The files of a run:

    summary.json       all results; written last, so a directory that has it is complete
    timeline.csv       one line per second (results/timeline_csv.py has the columns)
    NAME.hgrm          percentile distribution of each latency, ms, over the headline's scope
    histograms.json    metric → scope → HDR histogram (V2, compressed, base64)
    report.html        the report, self-contained
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import msgspec

from chat_cli import output_file
from chat_cli.extras import missing_extra
from chat_cli.streams import OutputError
from chat_swarm.model.hgrm import percentile_distribution
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import Summary
from chat_swarm.results import timeline_csv
from chat_swarm.results.finished_run import FinishedRun, HistogramsByScope

RUNS_DIRECTORY: Final = "swarm-runs"
SUMMARY_FILE: Final = "summary.json"
TIMELINE_FILE: Final = "timeline.csv"
HISTOGRAMS_FILE: Final = "histograms.json"
REPORT_FILE: Final = "report.html"
SUMMARY_VERSION: Final = 1


class RunDirectoryError(Exception):
    """Raised for a run directory that cannot be used; the sentence says why, and the way out."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A directory to which a run can be written."""

    path: Path

    @classmethod
    def create(cls, report: Path | None, run: str, now: datetime | None = None) -> "RunDirectory":
        """Make the directory (`report`, or a new one under swarm-runs/) and test that it is writable.

        Raises `RunDirectoryError`.
        """
        path = report if report is not None else _default_path(run, now or datetime.now(UTC))
        if (path / SUMMARY_FILE).exists():
            raise RunDirectoryError(
                f"{path} already holds a run: choose another directory with --report, or remove this one"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(b"x")
        except OSError as error:
            raise RunDirectoryError(
                f"{path} cannot be written to ({error.strerror or error}):"
                " choose another directory with --report"
            ) from None
        return cls(path)

    def write(
        self, run: FinishedRun, render: Callable[[FinishedRun], str], out: TextIO | None = None
    ) -> list[str]:
        """Write all files; return a sentence for each that could not be written.

        If summary.json cannot be written, it is printed to `out` (default stdout): a full disk must not cost
        the result of a long run.
        """
        problems = []
        for name, make in self._files(run, render):
            try:
                output_file.write_file(self.path / name, make().encode())
            except OSError as error:
                problems.append(f"{self.path / name} could not be written: {error.strerror or error}")
                if name == SUMMARY_FILE:
                    problems.append(_print_instead(make(), out or sys.stdout))
            except ImportError as error:
                problems.append(f"{name} was not made: {missing_extra(error, 'loadtest')}")
            except Exception as error:  # noqa: BLE001  a bug in one file must not cost the others
                problems.append(f"{name} was not made (internal error: {error!r})")
        return problems

    @staticmethod
    def _files(
        run: FinishedRun, render: Callable[[FinishedRun], str]
    ) -> Iterator[tuple[str, Callable[[], str]]]:
        yield HISTOGRAMS_FILE, lambda: _encode_histograms(run.histograms)
        yield TIMELINE_FILE, lambda: timeline_csv.encode(run.rows)
        for metric, histogram in run.histograms_of(run.summary.headline).items():
            if histogram.count:
                yield f"{metric}.hgrm", lambda histogram=histogram: percentile_distribution(histogram)  # type: ignore[misc]
        yield REPORT_FILE, lambda: render(run)
        yield SUMMARY_FILE, lambda: encode_summary(run.summary)


def read_run(directory: Path) -> FinishedRun:
    """Return the run in a directory. Raises `RunDirectoryError`."""
    if not directory.is_dir():
        raise RunDirectoryError(f"there is no directory {directory}")
    if not (directory / SUMMARY_FILE).exists():
        raise RunDirectoryError(f"{directory} holds no finished run: there is no {SUMMARY_FILE} in it")
    summary = _read_summary(directory / SUMMARY_FILE)
    try:
        rows = timeline_csv.decode(_read_text(directory / TIMELINE_FILE))
    except ValueError as error:
        raise RunDirectoryError(f"{directory / TIMELINE_FILE} is broken: {error}") from None
    return FinishedRun(summary=summary, rows=rows, histograms=_read_histograms(directory / HISTOGRAMS_FILE))


def write_report(directory: Path, page: str) -> Path:
    """Replace a run's report.html; return its path. Raises `RunDirectoryError`."""
    try:
        output_file.write_file(directory / REPORT_FILE, page.encode())
    except OSError as error:
        raise RunDirectoryError(
            f"{directory / REPORT_FILE} could not be written: {error.strerror or error}"
        ) from None
    return directory / REPORT_FILE


def encode_summary(summary: Summary) -> str:
    """Return the text of summary.json."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2).decode()


def _print_instead(text: str, out: TextIO) -> str:
    """Print a file that could not be written; return a sentence."""
    try:
        out.write(text + "\n")
        out.flush()
    except (OSError, OutputError) as error:
        return f"nor could the summary be printed instead ({error})"
    return "the summary was printed instead"


def _default_path(run: str, now: datetime) -> Path:
    """Return the default path, swarm-runs/<UTC time>-<run>, with a number appended if it exists."""
    name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{run}"
    path = Path(RUNS_DIRECTORY) / name
    number = 2
    while path.exists():
        path = Path(RUNS_DIRECTORY) / f"{name}-{number}"
        number += 1
    return path


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _read_summary(path: Path) -> Summary:
    text = _read_text(path)
    try:
        version = msgspec.json.decode(text, type=dict[str, object]).get("version")
        if version == SUMMARY_VERSION:
            return msgspec.json.decode(text, type=Summary)
    except msgspec.MsgspecError as error:  # invalid JSON, or JSON of another shape
        raise RunDirectoryError(f"{path} is broken: {error}") from None
    raise RunDirectoryError(
        f"{path} is of version {version}, and this chat-swarm reads version {SUMMARY_VERSION}:"
        " use the one that wrote it"
    )


def _encode_histograms(histograms: HistogramsByScope) -> str:
    encoded = {
        metric: {scope: histogram.encode().decode("ascii") for scope, histogram in scopes.items()}
        for metric, scopes in histograms.items()
    }
    return msgspec.json.format(msgspec.json.encode(encoded), indent=1).decode()


def _read_histograms(path: Path) -> HistogramsByScope:
    try:
        encoded = msgspec.json.decode(_read_text(path), type=dict[str, dict[str, str]])
        return {
            metric: {scope: Histogram.decode(text.encode()) for scope, text in scopes.items()}
            for metric, scopes in encoded.items()
        }
    except (msgspec.MsgspecError, ValueError) as error:
        raise RunDirectoryError(f"{path} is broken: {error}") from None
