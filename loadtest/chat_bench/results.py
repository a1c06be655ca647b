"""Results: samples by metric and system, their medians and ratios; encoded as JSON."""

import statistics
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from chat_bench.progress import ResultsError
from chat_cli.output_file import find_problem, write_file


class Metric(Struct, frozen=True):
    """A row of the table."""

    title: str
    digits: int
    ratio: bool = False
    """Whether it is in the comparison; less is better in all that are."""


METRICS: Final = {
    "fanout_1": Metric("1 → N, one message in flight: µs per delivery", 2, ratio=True),
    "fanout_64": Metric("1 → N, 64 in flight: µs per delivery", 3, ratio=True),
    "pairs": Metric("200 clients in pairs: µs per message", 1, ratio=True),
    "one_pair": Metric("one pair, on one CPU with its clients: µs per message", 1, ratio=True),
    "join": Metric("joins of one room: µs per join", 0),
    "login": Metric("log-ins: µs each", 0),
    "login_rate": Metric("log-ins: per second (wall)", 0),
    "pairs_rate": Metric("200 clients in pairs: messages per second (wall)", 0),
    "idle_rss": Metric("idle connections: KiB of RSS each", 1, ratio=True),
    "fanout_bytes": Metric("bytes a delivery puts on the wire", 0),
}
"""All rows, in the order of the table."""


class Summary(Struct, frozen=True):
    """Summary of a metric over several rounds."""

    median: float
    least: float
    most: float


def summarize(samples: list[float]) -> Summary:
    """Return median, minimum and maximum of at least one sample."""
    return Summary(statistics.median(samples), min(samples), max(samples))


class Results(Struct):
    """A run of the bench, as written to JSON."""

    started: str
    machine: dict[str, str]
    settings: dict[str, float]
    versions: dict[str, str]
    """The systems in the order of their columns, with their versions."""
    promises: dict[str, str] = field(default_factory=dict)
    """System → what the sender of an acknowledged message may rely on."""
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Notes below the table."""
    failures: list[str] = field(default_factory=list)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Metric → system → one value per round."""

    def add(self, metric: str, system: str, value: float) -> None:
        """Add one round's value."""
        assert metric in METRICS
        self.samples.setdefault(metric, {}).setdefault(system, []).append(value)

    def summary(self, metric: str, system: str) -> Summary | None:
        """Return the summary of a system's samples; None if there are none."""
        samples = self.samples.get(metric, {}).get(system)
        return summarize(samples) if samples else None

    def ratio(self, metric: str, system: str, to: str) -> float | None:
        """Return the quotient of two systems' medians; None if one is missing or the divisor is 0."""
        over, under = self.summary(metric, system), self.summary(metric, to)
        return over.median / under.median if over and under and under.median > 0 else None


def write_json(path: Path, value: object) -> None:
    """Write the samples of a run as indented JSON. Raises `ResultsError`."""
    try:
        write_file(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror or error}") from None


def check_writable(path: Path | None) -> None:
    """Make the folder of a file for the results; raise `ResultsError` if the file cannot be written.

    To be called before the measurements, which take minutes.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        problem = find_problem(path)
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise ResultsError(f"cannot write {path}: {problem}")
