"""Two runs side by side: each figure, how it changed, and whether by more than noise.

Knows which figures are compared and what makes two runs hard to compare. Must not know terminals.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from chat_swarm.model.metric_names import COUNTS, FAULTS, METRIC, METRICS
from chat_swarm.model.units import plural, significant, size
from chat_swarm.results import verdict as judgement
from chat_swarm.results.confidence import LEAST_SECONDS, Interval, interval
from chat_swarm.results.finished_run import Run
from chat_swarm.results.metric_refs import FAILURES, Figure, Kind, Measured, look_up, measured, parse_figure
from chat_swarm.results.slo import OPERATORS

_PARTS: Final = ("p50", "p99", "p99.9", "max")
_ALWAYS: Final = ("sent.rate", "delivered.rate", "connected")
_SERVER: Final = ("server.cpu_us_per_delivery", "server.cpu_cores", "server.rss_kib_per_connection")
_NOT_OPTIONS: Final = frozenset({"report", "run", "slo"})
"""Options that change nothing of what is measured."""

_BY_FAR: Final = 10.0
"""How many times as much a figure is in one run as in the other when that is said, noise known or not."""

_OTHER_START: Final = 1.25
"""How much larger a server may be before a run than before another, to have been started alike."""


class Line(Struct, kw_only=True, frozen=True):
    """A figure of both runs, in `unit`; `beyond` is None where noise is not known."""

    name: str
    unit: str
    of_server: bool
    a: float | None
    b: float | None
    change: float | None = None
    """(B - A) ÷ A; None where either is missing; `from_nothing` where A is 0 and B is not."""
    from_nothing: bool = False
    beyond: bool | None = None
    noise_a: tuple[float, float] | None = None
    """The interval's low and high end."""
    noise_b: tuple[float, float] | None = None

    @property
    def relative(self) -> float | None:
        """The change as a number that can be compared."""
        return math.inf if self.from_nothing else self.change

    @property
    def times(self) -> float | None:
        """How many times as much the greater is, where that is by far; None where the other is 0."""
        if not self.a or not self.b:
            return None
        times = max(self.a, self.b) / min(self.a, self.b)
        return times if times >= _BY_FAR else None


class Verdict(Struct, kw_only=True, frozen=True):
    """How a term of `--fail-if` fared."""

    text: str
    failed: bool
    why: str


class Comparison(Struct, kw_only=True):
    """All that is said of two runs."""

    a: str
    b: str
    scope: str
    warnings: list[str]
    lines: list[Line]
    too_short: str = ""
    """Why no figure's noise is known, and the way out; "" if both runs are long enough."""
    verdicts: list[Verdict] = []

    @property
    def failed(self) -> bool:
        """Whether a term of `--fail-if` came true."""
        return any(verdict.failed for verdict in self.verdicts)


class Bound(Struct, frozen=True):
    """A term of `--fail-if`: a change of a figure, as a share, that is too much."""

    text: str
    figure: Figure
    operator: str
    change: float


_BOUND: Final = re.compile(r"([^<>=]+?)\s*(<=|>=|<|>)\s*([+-]?\d+(?:\.\d+)?)\s*(%?)", re.ASCII)


def parse_bounds(text: str) -> list[Bound]:
    """Return the terms of `--fail-if`, as in `delivery.p99>+20%,sent.rate<-5%`; or ValueError."""
    bounds = []
    for part in (part.strip() for part in text.split(",")):
        found = _BOUND.fullmatch(part)
        if found is None or not found[4]:
            raise ValueError(
                f"{part!r} is no bound of a change: write for example delivery.p99>+20% or sent.rate<-5%"
            )
        bounds.append(Bound(part, parse_figure(found[1]), found[2], float(found[3]) / 100))
    return bounds


def compare(a: Run, b: Run, scope: str | None = None, bounds: list[Bound] | None = None) -> Comparison:
    """Return what changed from run A to run B, over the scope that is named or each run's headline."""
    scopes = (scope or a.summary.headline, scope or b.summary.headline)
    sides = _Sides(a, b, scopes)
    names = dict.fromkeys([*_names(sides), *(bound.figure.name for bound in bounds or ())])
    lines = {name: sides.line(parse_figure(name)) for name in names}
    return Comparison(
        a=a.summary.run,
        b=b.summary.run,
        scope=scopes[0] if scopes[0] == scopes[1] else " / ".join(scopes),
        warnings=list(_warnings(a, b, scopes)),
        lines=list(lines.values()),
        too_short=_too_short(a, b, scopes),
        verdicts=[_judge(bound, lines[bound.figure.name]) for bound in bounds or ()],
    )


class _Sides:
    """Both runs and what they measured."""

    def __init__(self, a: Run, b: Run, scopes: tuple[str, str]) -> None:
        self._runs = (a, b)
        self.of: tuple[Measured, Measured] = (measured(a, scopes[0]), measured(b, scopes[1]))
        self._scopes = scopes

    def line(self, figure: Figure) -> Line:
        """Return a figure of both."""
        a, b = (look_up(figure, of).value for of in self.of)
        ranges = [self._interval(figure, value, side) for side, value in enumerate((a, b))]
        nothing = a == 0 and b is not None and b > 0
        return Line(
            name=figure.name,
            unit=figure.unit,
            of_server=_of_server(figure),
            a=a,
            b=b,
            change=None if a is None or b is None or nothing else (b - a) / a if a else 0.0,
            from_nothing=nothing,
            beyond=_beyond(figure, a, b, ranges),
            noise_a=ranges[0] and (ranges[0].low, ranges[0].high),
            noise_b=ranges[1] and (ranges[1].low, ranges[1].high),
        )

    def _interval(self, figure: Figure, value: float | None, side: int) -> Interval | None:
        if value is None:
            return None
        run, scope = self._runs[side], self._scopes[side]
        return interval(figure, value, run.rows_of(scope), run.summary.peak_connected)


def _of_server(figure: Figure) -> bool:
    if figure.kind is Kind.LATENCY:
        return METRIC[figure.subject].of_server
    return not figure.subject.startswith("generator.")


def _beyond(figure: Figure, a: float | None, b: float | None, ranges: list[Interval | None]) -> bool | None:
    if a is None or b is None:
        return None
    if a == b:
        return False
    if figure.kind is Kind.FAULT or (
        figure.kind is Kind.COUNT and 0 in {a, b} and figure.subject in FAILURES
    ):
        return True  # there is no noise in whether a message was lost, or in the first error
    first, second = ranges
    return first.apart(second) if first and second else None


def _names(sides: _Sides) -> Iterator[str]:
    """Yield the figures that are worth a line."""
    for metric in METRICS:
        if any(_count(of, metric.name) for of in sides.of):
            yield from (f"{metric.name}.{part}" for part in _PARTS)
    yield from _ALWAYS
    if any(of.server for of in sides.of):
        yield from _SERVER
    yield from FAULTS
    for name in COUNTS:
        figure = parse_figure(name)
        rare = name in FAILURES - {"connects", "logins"}
        if rare and any(look_up(figure, of).value for of in sides.of):
            yield name
    yield "generator.marked_seconds"


def _count(of: Measured, metric: str) -> float:
    return look_up(parse_figure(f"{metric}.count"), of).value or 0


def _judge(bound: Bound, line: Line) -> Verdict:
    change = line.relative
    if change is None:
        return Verdict(text=bound.text, failed=True, why=f"{line.name} was not measured in both runs")
    if not OPERATORS[bound.operator](change, bound.change):
        return Verdict(text=bound.text, failed=False, why=f"it changed by {_percent(change)}")
    if line.beyond is None:
        return Verdict(
            text=bound.text,
            failed=True,  # a bound that nobody can judge must not let anything through
            why=f"it changed by {_percent(change)}, and these runs cannot tell whether that is noise"
            f" (for most figures, {LEAST_SECONDS} steady seconds and more can)",
        )
    within = "beyond" if line.beyond else "but not beyond"
    return Verdict(
        text=bound.text, failed=line.beyond, why=f"it changed by {_percent(change)}, {within} noise"
    )


def _percent(change: float) -> str:
    return "more than any share: it was 0" if math.isinf(change) else f"{100 * change:+.1f} %"


def _too_short(a: Run, b: Run, scopes: tuple[str, str]) -> str:
    """Return why no figure's noise can be known, and what to do; "" if it can."""
    short = [
        f"{name} has {plural(seconds, 'second' if scope == 'all' else f'{scope} second')}"
        for name, run, scope in (("A", a, scopes[0]), ("B", b, scopes[1]))
        if (seconds := len(run.rows_of(scope))) < LEAST_SECONDS
    ]
    if not short:
        return ""
    return (
        f"Too short to tell noise from change: {' and '.join(short)}; each run needs {LEAST_SECONDS}, so"
        " make it longer (-t; the ramp counts for nothing). Or repeat both a few times, and look whether one"
        " A differs from another as much as from B."
    )


def _warnings(a: Run, b: Run, scopes: tuple[str, str]) -> Iterator[str]:
    """Yield what makes the two hard to compare."""
    first, second = a.summary, b.summary
    if scopes[0] != scopes[1]:
        yield f"the figures of A are over its {scopes[0]} seconds, those of B over its {scopes[1]} seconds"
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
                f"in {plural(marked, 'second')} of {name}'s {len(rows)} {judgement.why_marked(rows)}"
                " (--scope clean leaves them out)"
            )
        if not run.summary.generator.stamped:
            yield f"the kernel stamped nothing in {name}: its latencies hold the bots' own lag"
        if not run.summary.audit.passed:
            yield f"the audit of {name} failed: a server that loses messages has less to do"
    if first.server is not None and second.server is not None:
        sizes = [server.rss_before_bytes for server in (first.server, second.server)]
        if max(sizes) > _OTHER_START * min(sizes):
            yield (
                f"before its first bot the server held {size(sizes[0])} in A, {size(sizes[1])} in B: one"
                " of them had served others before, so its memory per connection says little"
            )
    seconds = [run.scope(scope).seconds for run, scope in zip((a, b), scopes, strict=True)]
    if min(seconds) and max(seconds) / min(seconds) > 2:
        yield f"A ran for {significant(seconds[0])} s, B for {significant(seconds[1])} s"
