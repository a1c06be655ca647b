"""Compares two runs: how each figure changed, and whether by more than noise."""

import math
import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from chat_swarm.model.metric_names import COUNTS, FAULTS, METRIC_BY_NAME, METRICS
from chat_swarm.model.units import plural, significant, size
from chat_swarm.results import verdict as verdict_text
from chat_swarm.results.confidence import (
    MIN_RUN_SECONDS,
    ConfidenceInterval,
    are_rates_different,
    confidence_interval,
)
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.metric_refs import (
    FAILURE_COUNTS,
    Measurements,
    MetricKind,
    MetricRef,
    look_up_metric,
    measurements_of,
    parse_metric_ref,
)
from chat_swarm.results.slo import OPERATORS

_LATENCY_STATS: Final = ("p50", "p99", "p99.9", "max")
_ALWAYS_COMPARED: Final = ("sent.rate", "delivered.rate", "connected")
_SERVER_METRICS: Final = ("server.cpu_us_per_delivery", "server.cpu_cores", "server.rss_kib_per_connection")
_NOT_OPTIONS: Final = frozenset({"report", "run", "slo"})
"""Options that do not affect the measurements."""

_RARE_EVENTS: Final = FAILURE_COUNTS - {"connects", "logins"}
"""Counts that are judged as rare, independent events."""

_LARGE_RATIO: Final = 10.0
"""From this ratio on a figure is pointed out even if its noise is unknown, or as large."""

_RSS_BEFORE_RATIO: Final = 1.25
"""A larger ratio of the servers' resident memory before the runs is warned about."""


class ComparedMetric(Struct, kw_only=True, frozen=True):
    """A figure of both runs, in `unit`. `beyond`: changed by more than noise; None if noise is unknown."""

    name: str
    unit: str
    of_server: bool
    a: float | None
    b: float | None
    change: float | None = None
    """(B - A) ÷ A; None if either is missing, or if A is 0 and B is not (`from_nothing`)."""
    from_nothing: bool = False
    beyond: bool | None = None
    noise_a: tuple[float, float] | None = None
    """Low and high end of the confidence interval."""
    noise_b: tuple[float, float] | None = None

    @property
    def relative_change(self) -> float | None:
        """The change as a share; infinite if it is from 0."""
        return math.inf if self.from_nothing else self.change

    @property
    def large_ratio(self) -> float | None:
        """Ratio of the greater to the smaller value if it is at least `_LARGE_RATIO`; None if one is 0."""
        if not self.a or not self.b:
            return None
        times = max(self.a, self.b) / min(self.a, self.b)
        return times if times >= _LARGE_RATIO else None


class BoundResult(Struct, kw_only=True, frozen=True):
    """The result of one term of `--fail-if`."""

    text: str
    failed: bool
    why: str


class Comparison(Struct, kw_only=True):
    """The comparison of two runs; `--json` prints it."""

    a: str
    b: str
    scope: str
    warnings: list[str]
    lines: list[ComparedMetric]
    too_short: str = ""
    """Why noise cannot be computed, and the way out; "" if both runs are long enough."""
    verdicts: list[BoundResult] = []

    @property
    def failed(self) -> bool:
        """Whether any term of `--fail-if` is broken."""
        return any(verdict.failed for verdict in self.verdicts)


class ChangeBound(Struct, frozen=True):
    """A term of `--fail-if`: a change of a figure, as a share, that fails the comparison."""

    text: str
    ref: MetricRef
    operator: str
    change: float


_BOUND_PATTERN: Final = re.compile(r"([^<>=]+?)\s*(<=|>=|<|>)\s*([+-]?\d+(?:\.\d+)?)\s*(%?)", re.ASCII)


def parse_bounds(text: str) -> list[ChangeBound]:
    """Return the terms of `--fail-if`, as in `delivery.p99>+20%,sent.rate<-5%`. Raises `ValueError`."""
    bounds = []
    for part in (part.strip() for part in text.split(",")):
        found = _BOUND_PATTERN.fullmatch(part)
        if found is None or not found[4]:
            raise ValueError(f"{part!r} is not a bound; write for example delivery.p99>+20% or sent.rate<-5%")
        bounds.append(ChangeBound(part, parse_metric_ref(found[1]), found[2], float(found[3]) / 100))
    return bounds


def compare(
    a: FinishedRun, b: FinishedRun, scope: str | None = None, bounds: list[ChangeBound] | None = None
) -> Comparison:
    """Return what changed from run A to run B, over `scope`, or over each run's headline scope."""
    scopes = (scope or a.summary.headline, scope or b.summary.headline)
    sides = _RunPair(a, b, scopes)
    names = dict.fromkeys([*_compared_names(sides), *(bound.ref.name for bound in bounds or ())])
    lines = {name: sides.compare_metric(parse_metric_ref(name)) for name in names}
    return Comparison(
        a=a.summary.run,
        b=b.summary.run,
        scope=scopes[0] if scopes[0] == scopes[1] else " / ".join(scopes),
        warnings=list(_warnings(a, b, scopes)),
        lines=list(lines.values()),
        too_short=_explain_too_short(a, b, scopes),
        verdicts=[_check_bound(bound, lines[bound.ref.name]) for bound in bounds or ()],
    )


class _RunPair:
    """Both runs and their measurements."""

    def __init__(self, a: FinishedRun, b: FinishedRun, scopes: tuple[str, str]) -> None:
        self._runs = (a, b)
        self.measurements: tuple[Measurements, Measurements] = (
            measurements_of(a, scopes[0]),
            measurements_of(b, scopes[1]),
        )
        self._scopes = scopes
        self._seconds = a.scope("all").seconds, b.scope("all").seconds

    def compare_metric(self, ref: MetricRef) -> ComparedMetric:
        """Return a figure of both runs, compared."""
        a, b = (look_up_metric(ref, of).value for of in self.measurements)
        ranges = [self._confidence_interval(ref, value, side) for side, value in enumerate((a, b))]
        nothing = a == 0 and b is not None and b > 0
        return ComparedMetric(
            name=ref.name,
            unit=ref.unit,
            of_server=_of_server(ref),
            a=a,
            b=b,
            change=None if a is None or b is None or nothing else (b - a) / a if a else 0.0,
            from_nothing=nothing,
            beyond=_beyond_noise(ref, a, b, ranges, self._seconds),
            noise_a=ranges[0] and (ranges[0].low, ranges[0].high),
            noise_b=ranges[1] and (ranges[1].low, ranges[1].high),
        )

    def _confidence_interval(
        self, ref: MetricRef, value: float | None, side: int
    ) -> ConfidenceInterval | None:
        if value is None:
            return None
        run, scope = self._runs[side], self._scopes[side]
        return confidence_interval(ref, value, run.rows_of(scope), run.summary.peak_connected)


def _of_server(ref: MetricRef) -> bool:
    if ref.kind is MetricKind.LATENCY:
        return METRIC_BY_NAME[ref.subject].measures_server
    return not ref.subject.startswith("generator.")


def _beyond_noise(
    ref: MetricRef,
    a: float | None,
    b: float | None,
    ranges: list[ConfidenceInterval | None],
    seconds: tuple[float, float],
) -> bool | None:
    if a is None or b is None:
        return None
    if a == b:
        return False
    if ref.kind is MetricKind.FAULT and 0 in {a, b}:
        return True  # whether a message was lost is not noise
    if ref.kind is MetricKind.FAULT or ref.subject in _RARE_EVENTS:
        return are_rates_different((round(a), seconds[0]), (round(b), seconds[1]))
    first, second = ranges
    return first.is_disjoint(second) if first and second else None


def _compared_names(sides: _RunPair) -> Iterator[str]:
    """Yield the names of the figures that are compared."""
    for metric in METRICS:
        if any(_sample_count(of, metric.name) for of in sides.measurements):
            yield from (f"{metric.name}.{part}" for part in _LATENCY_STATS)
    yield from _ALWAYS_COMPARED
    if any(of.server for of in sides.measurements):
        yield from _SERVER_METRICS
    yield from FAULTS
    for name in COUNTS:
        ref = parse_metric_ref(name)
        if name in _RARE_EVENTS and any(look_up_metric(ref, of).value for of in sides.measurements):
            yield name
    yield "generator.marked_seconds"


def _sample_count(of: Measurements, metric: str) -> float:
    return look_up_metric(parse_metric_ref(f"{metric}.count"), of).value or 0


def _check_bound(bound: ChangeBound, compared: ComparedMetric) -> BoundResult:
    change = compared.relative_change
    if change is None:
        return BoundResult(text=bound.text, failed=True, why=f"{compared.name} was not measured in both runs")
    if not OPERATORS[bound.operator](change, bound.change):
        return BoundResult(text=bound.text, failed=False, why=f"it changed by {_percent(change)}")
    if compared.beyond is None:
        return BoundResult(
            text=bound.text,
            failed=True,  # a bound that cannot be decided must not pass
            why=f"it changed by {_percent(change)}, and whether that is noise is unknown"
            f" (most figures need {MIN_RUN_SECONDS} steady seconds)",
        )
    if not compared.beyond and compared.large_ratio is not None:
        return BoundResult(
            text=bound.text,
            failed=True,
            why=f"it changed by {_percent(change)}; these runs are noisy, but chance is unlikely",
        )
    within = "beyond" if compared.beyond else "but not beyond"
    return BoundResult(
        text=bound.text, failed=compared.beyond, why=f"it changed by {_percent(change)}, {within} noise"
    )


def _percent(change: float) -> str:
    return "more than any percentage (it was 0)" if math.isinf(change) else f"{100 * change:+.1f} %"


def _explain_too_short(a: FinishedRun, b: FinishedRun, scopes: tuple[str, str]) -> str:
    """Return why noise cannot be computed, and what to do; "" if it can."""
    short = [
        f"{name} has {plural(seconds, 'second' if scope == 'all' else f'{scope} second')}"
        for name, run, scope in (("A", a, scopes[0]), ("B", b, scopes[1]))
        if (seconds := len(run.rows_of(scope))) < MIN_RUN_SECONDS
    ]
    if not short:
        return ""
    return (
        f"Too short to separate noise from change: {' and '.join(short)}; each run needs {MIN_RUN_SECONDS}."
        " Make it longer (-t; the ramp does not count), or repeat both a few times and see whether two runs"
        " of A differ as much as A and B do."
    )


def _warnings(a: FinishedRun, b: FinishedRun, scopes: tuple[str, str]) -> Iterator[str]:
    """Yield what makes the two runs hard to compare."""
    first, second = a.summary, b.summary
    if scopes[0] != scopes[1]:
        yield f"A is measured over its {scopes[0]} seconds, B over its {scopes[1]} seconds"
    for what, left, right in (
        ("option", first.options, second.options),
        ("bots:", first.bots, second.bots),
        ("machine:", first.machine, second.machine),
    ):
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key) and not (what == "option" and key in _NOT_OPTIONS):
                yield f"{what} {key} differs: {left.get(key, 'none')} in A, {right.get(key, 'none')} in B"
    if first.shape != second.shape:
        yield f"the load shape differs: {first.shape or 'none'} in A, {second.shape or 'none'} in B"
    for name, run, scope in (("A", a, scopes[0]), ("B", b, scopes[1])):
        rows = run.rows_of(scope)
        if marked := sum(1 for row in rows if row.marked):
            yield (
                f"in {plural(marked, 'second')} of {name}'s {len(rows)} {verdict_text.why_marked(rows)}"
                " (--scope clean leaves them out)"
            )
        if not run.summary.generator.stamped:
            yield f"no kernel receive timestamps in {name}: its latencies include the bots' own lag"
        if not run.summary.audit.passed:
            yield f"the audit of {name} failed: a server that loses messages has less to do"
    if first.server is not None and second.server is not None:
        sizes = [server.rss_before_bytes for server in (first.server, second.server)]
        if max(sizes) > _RSS_BEFORE_RATIO * min(sizes):
            yield (
                f"before its first bot the server held {size(sizes[0])} in A, {size(sizes[1])} in B: one"
                " of them had served other clients, so its memory per connection is unreliable"
            )
    seconds = [run.scope(scope).seconds for run, scope in zip((a, b), scopes, strict=True)]
    if min(seconds) and max(seconds) / min(seconds) > 2:
        yield f"A ran for {significant(seconds[0])} s, B for {significant(seconds[1])} s"
