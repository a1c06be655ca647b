"""Names of figures, as SLOs and comparisons use them: `delivery.p99`, `sent.rate`, `lost`.

Parses a name, and looks up its value in a run.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import COUNTS, FAULTS, METRIC_BY_NAME
from chat_swarm.model.schema import GeneratorFigures, Quantiles, Scope, ServerFigures
from chat_swarm.results.finished_run import FinishedRun

STARTUP_METRICS: Final = frozenset({"connect", "login"})
"""Latencies measured once per bot, during the ramp: taken from the whole run, whatever the scope."""

FAILURE_COUNTS: Final = frozenset(
    {"connects", "connect_failures", "logins", "refused", "errors", "byes", "not_resumed", "foreign"}
)
"""Counts taken from the whole run, whatever the scope: a failure before the steady phase is one too."""

_LATENCY_STATS: Final = ("p50", "p90", "p99", "p99.9", "p99.99", "mean", "min", "max", "count")


class MetricKind(Enum):
    """Where a figure's value comes from."""

    LATENCY = "latency"
    COUNT = "count"
    FAULT = "fault"
    RATE = "rate"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class MetricRef:
    """A parsed name: the `subject`, and of a latency the percentile `percent` or the statistic `stat`.

    `unit` is the unit of its value: µs, /s, KiB, cores, or "".
    """

    name: str
    kind: MetricKind
    subject: str
    unit: str = ""
    stat: str = ""
    percent: float | None = None


class MetricValue(NamedTuple):
    """A value, or the reason why there is none."""

    value: float | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What figures are looked up in: a scope, and the whole run for those that ignore scopes (if given)."""

    scope: Scope
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    connected: int = 0
    whole: Scope | None = None
    whole_histograms: Mapping[str, Histogram] | None = None
    server: ServerFigures | None = None
    generator: GeneratorFigures | None = None


def measurements_of(run: FinishedRun, scope: str) -> Measurements:
    """Return the measurements of a finished run over a scope."""
    return Measurements(
        scope=run.scope(scope),
        histograms=run.histograms_of(scope),
        faults=run.summary.audit.counts,
        connected=run.summary.peak_connected,
        whole=run.scope("all"),
        whole_histograms=run.histograms_of("all"),
        server=run.summary.server,
        generator=run.summary.generator,
    )


def _of_server(take: Callable[[ServerFigures], float | None]) -> Callable[[Measurements], MetricValue]:
    def look(of: Measurements) -> MetricValue:
        if of.server is None:
            return MetricValue(None, "the server's process was not sampled")
        value = take(of.server)
        return MetricValue(value, "" if value is not None else "there is nothing to divide it by")

    return look


def _of_generator(take: Callable[[GeneratorFigures], float | None]) -> Callable[[Measurements], MetricValue]:
    def look(of: Measurements) -> MetricValue:
        value = take(of.generator) if of.generator else None
        return MetricValue(value, "" if value is not None else "the generator was not sampled")

    return look


def _to_kib(size: float | None) -> float | None:
    return None if size is None else size / 1024


_SINGLE_VALUE_READERS: Final[dict[str, tuple[str, Callable[[Measurements], MetricValue]]]] = {
    "connected": ("", lambda of: MetricValue(float(of.connected))),
    "server.cpu_cores": ("cores", _of_server(lambda server: server.cpu_cores)),
    "server.cpu_us_per_delivery": ("µs", _of_server(lambda server: server.cpu_us_per_delivery)),
    "server.cpu_us_per_message": ("µs", _of_server(lambda server: server.cpu_us_per_message)),
    "server.rss_kib_per_connection": (
        "KiB",
        _of_server(lambda server: _to_kib(server.rss_bytes_per_connection)),
    ),
    "server.rss_peak_kib": ("KiB", _of_server(lambda server: _to_kib(server.rss_peak_bytes))),
    "generator.cpu_cores": ("cores", _of_generator(lambda generator: generator.cpu_cores_peak)),
    "generator.rss_kib_per_bot": (
        "KiB",
        _of_generator(lambda generator: _to_kib(generator.rss_bytes_per_bot)),
    ),
    "generator.marked_seconds": ("", _of_generator(lambda generator: float(generator.marked_seconds))),
}

SINGLE_VALUES: Final = tuple(_SINGLE_VALUE_READERS)
"""Figures that are a single number per run."""

_PLAIN_NAMES: Final = (*FAULTS, *COUNTS, *SINGLE_VALUES)


def parse_metric_ref(text: str) -> MetricRef:
    """Return the parsed name. Raises `ValueError` with the problem and the nearest valid name."""
    if text in _SINGLE_VALUE_READERS:
        return MetricRef(text, MetricKind.SINGLE, text, unit=_SINGLE_VALUE_READERS[text][0])
    subject, dot, stat = text.partition(".")
    if subject in METRIC_BY_NAME:
        if not dot:
            raise ValueError(f"{text!r} is a latency: name a statistic of it, for example {subject}.p99")
        return _parse_latency(text, subject, stat)
    if subject in COUNTS or subject in FAULTS:
        if not dot:
            return MetricRef(text, MetricKind.FAULT if subject in FAULTS else MetricKind.COUNT, subject)
        if subject in COUNTS and stat == "rate":
            return MetricRef(text, MetricKind.RATE, subject, unit="/s")
        right = f"{subject} or {subject}.rate" if subject in COUNTS else subject
        raise ValueError(f"{text!r} is not a figure: write {right}")
    raise ValueError(f"{text!r} is not a figure{_suggest_name(text)}")


def _parse_latency(text: str, metric: str, stat: str) -> MetricRef:
    if stat in {"min", "mean", "max"}:
        return MetricRef(text, MetricKind.LATENCY, metric, unit="µs", stat=stat)
    if stat == "count":
        return MetricRef(text, MetricKind.LATENCY, metric, stat=stat)
    if found := re.fullmatch(r"p(?:99(9+)|(\d{1,3}(?:\.\d{1,6})?))", stat, re.ASCII):
        # p999 is a common spelling of 99.9 %; it is unambiguous, as no percentile is over 100.
        percent = float(f"99.{found[1]}" if found[1] else found[2])
        if percent <= 100:
            return MetricRef(text, MetricKind.LATENCY, metric, unit="µs", percent=percent)
        raise ValueError(f"{text!r}: {stat} is over 100 percent; write for example {metric}.p99.9")
    near = difflib.get_close_matches(stat, _LATENCY_STATS, n=1, cutoff=0.3)
    raise ValueError(
        f"{text!r}: {stat!r} is not a statistic{f', did you mean {metric}.{near[0]}?' if near else ''}"
        " (use p50, p99, p99.9 or any other percentile, min, mean, max, count)"
    )


def _suggest_name(text: str) -> str:
    """Return ", did you mean …?" for a near miss, else the list of valid names."""
    subject, dot, stat = text.partition(".")
    if near := difflib.get_close_matches(text, _PLAIN_NAMES, n=1, cutoff=0.75):
        return f", did you mean {near[0]}?"
    if near := difflib.get_close_matches(
        subject, (*METRIC_BY_NAME, *COUNTS, *FAULTS, "server"), n=1, cutoff=0.6
    ):
        if near[0] == "server":
            among = ", ".join(name for name in SINGLE_VALUES if name.startswith("server."))
            return f"; the server's figures are {among}"
        return f", did you mean {near[0]}{dot}{stat}?"
    return (
        f"; figures are latencies ({', '.join(METRIC_BY_NAME)}; as in delivery.p99), counts ("
        f"{', '.join(COUNTS)}; as in sent or sent.rate), faults ({', '.join(FAULTS)})"
        f" and {', '.join(SINGLE_VALUES)}"
    )


def look_up_metric(ref: MetricRef, of: Measurements) -> MetricValue:
    """Return the figure's value, in its unit."""
    subject = ref.subject
    match ref.kind:
        case MetricKind.SINGLE:
            return _SINGLE_VALUE_READERS[subject][1](of)
        case MetricKind.FAULT:
            return MetricValue(float(of.faults.get(subject, 0)))
        case MetricKind.COUNT:
            scope = of.scope if subject not in FAILURE_COUNTS or of.whole is None else of.whole
            return MetricValue(float(scope.counts.get(subject, 0)))
        case MetricKind.RATE:
            if not of.scope.seconds:
                return MetricValue(None, "the scope has no seconds")
            rate = of.scope.rates.get(subject)
            return MetricValue(of.scope.counts.get(subject, 0) / of.scope.seconds if rate is None else rate)
        case MetricKind.LATENCY:
            return _latency_value(ref, of)


def _latency_value(ref: MetricRef, of: Measurements) -> MetricValue:
    metric = ref.subject
    scope, histograms = of.scope, of.histograms
    if metric in STARTUP_METRICS and of.whole is not None:
        scope, histograms = of.whole, of.whole_histograms or {}
    short = scope.metrics.get(metric) or Quantiles()
    if ref.stat == "count":
        return MetricValue(float(short.count))
    if not short.count:
        return MetricValue(None, f"{metric} was never measured")
    if ref.percent is None:
        return MetricValue(float(getattr(short, ref.stat)))
    known = {
        50: short.p50,
        90: short.p90,
        99: short.p99,
        99.9: short.p999,
        99.99: short.p9999,
        100: short.max,
    }
    if ref.percent in known:
        return MetricValue(float(known[ref.percent]))
    if metric not in histograms:
        return MetricValue(None, f"there is no histogram of {metric} to take this percentile from")
    return MetricValue(float(histograms[metric].percentile(ref.percent)))
