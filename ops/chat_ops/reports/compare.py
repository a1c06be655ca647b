"""The report `compare`: metrics of two logs, or of two periods of one, and which got worse."""

import argparse
import math
from collections.abc import Sequence
from typing import Final

from chat_ops.compare import bounds as thresholds
from chat_ops.compare import metric_refs
from chat_ops.compare.metric_refs import LogMetrics
from chat_ops.log import cli_options
from chat_ops.log.errors import BoundBrokenError, UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.log.input_files import STDIN
from chat_ops.table import ReportColumn, ReportTable, Row

HELP: Final = "two logs (BEFORE NOW), or two periods of one (--baseline-since …), and what got worse"

NOISE_PERCENT: Final = 10.0
"""Difference in percent that two runs of the same server have anyway."""
_MIN_SAMPLES: Final = {"p50": 10, "p90": 50, "p99": 500, "p999": 5000, "max": 1}
"""Durations needed for a percentile, so that at least five are beyond it."""
_HOUR_S: Final = 3600.0
_SIGNIFICANT: Final = 0.05
"""Probability below which a difference of counts is no chance."""
_EXACT_EVENTS: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the baseline, the bounds and the noise level."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="BEFORE NOW; or the log to judge, with one of the options below",
    )
    parser.add_argument(
        "--against", nargs="+", action="extend", metavar="FILE", help="the baseline: files to compare with"
    )
    parser.add_argument("--baseline-since", metavar="TIME", help="the baseline begins at this time")
    parser.add_argument("--baseline-until", metavar="TIME", help="the baseline ends before this time")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="BOUNDS",
        help='exit code 1 if true: "latency.p99>+20%%", "errors>0,rtt.p99>5ms"; may be repeated',
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=NOISE_PERCENT,
        metavar="PERCENT",
        help=f"changes up to this count as the same ({NOISE_PERCENT:g})",
    )


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the metrics of both, and the bounds. Raises `BoundBrokenError` if one is broken."""
    if not 0 <= args.noise < math.inf:
        raise UsageError(f"--noise must be a number from 0, not {args.noise}")
    bounds = [bound for text in args.fail_if for bound in thresholds.parse_bounds(text)]
    before, now, notes = _measure_both(log, args)
    tables = [
        _latency(before, now, args.noise, notes),
        _traffic(before, now),
        _trouble(before, now, args.noise),
    ]
    if not bounds:
        return tables
    outcomes = [outcome for bound in bounds for outcome in thresholds.evaluate_bound(bound, before, now)]
    tables.append(_bounds(outcomes))
    if any(outcome.broken for outcome in outcomes):
        raise BoundBrokenError(tables)
    return tables


def _measure_both(log: EventLog, args: argparse.Namespace) -> tuple[LogMetrics, LogMetrics, list[str]]:
    baseline = {"since": args.baseline_since, "until": args.baseline_until}
    timed = any(baseline.values())
    files = [
        next(source.path for source in log.input_files if source.name == "(standard input)")
        if one == STDIN
        else one
        for one in args.files
    ]
    judged = None
    if args.against:
        first = args.against
    elif timed:
        if not (args.since or args.until):
            raise UsageError("give --since or --until for the period to compare with the baseline")
        first = files
    elif len(files) == 2:
        first, judged = files[:1], files[1:]
        baseline = {"since": args.since, "until": args.until}
    else:
        raise UsageError(
            "give two files (BEFORE NOW), or a baseline: --against FILE… or --baseline-since TIME"
        )
    with cli_options.open_log(args, files=first, **baseline) as other:
        before = metric_refs.measure_log(other, "the baseline")
        notes = [f"{other.bad_lines} lines of the baseline are not log lines"] if other.bad_lines else []
    if judged is None:
        now = metric_refs.measure_log(log, "the log to judge")
    else:
        with cli_options.open_log(args, files=judged) as second:
            now = metric_refs.measure_log(second, "the log to judge")
    return before, now, [f"before: {before.seconds:,.0f} s of intervals; now: {now.seconds:,.0f} s", *notes]


def _verdict(change: float | None, noise: float) -> str | None:
    if change is None:
        return None
    return "worse" if change > noise else "better" if change < -noise else "same"


def _count_verdict(before: LogMetrics, now: LogMetrics, name: str, noise: float) -> str | None:
    """Return the verdict on a count: none if the two rates may be equal, and the counts differ by chance."""
    change = thresholds.percent_change(before.rate(name), now.rate(name))
    verdict = _verdict(change, noise)
    if verdict not in {"worse", "better"}:
        return verdict
    counts = before.value(name) or 0, now.value(name) or 0
    if verdict == "better":
        chance = _chance_of_as_many(counts[0], sum(counts), before.seconds / (before.seconds + now.seconds))
    else:
        chance = _chance_of_as_many(counts[1], sum(counts), now.seconds / (before.seconds + now.seconds))
    return verdict if chance < _SIGNIFICANT else "few"


def _chance_of_as_many(count: float, of: float, share: float) -> float:
    """Return the probability that `count` or more of `of` events fall into a `share` of the time.

    Two Poisson counts with the same rate (Przyborowski and Wilenski 1940): binomial, beyond 1,000 events by
    its normal approximation.
    """
    whole, least = round(of), round(count)
    if whole > _EXACT_EVENTS:
        deviation = math.sqrt(whole * share * (1 - share))
        return 0.5 * math.erfc((least - 0.5 - whole * share) / (deviation * math.sqrt(2)))
    return math.fsum(
        math.comb(whole, n) * share**n * (1 - share) ** (whole - n) for n in range(least, whole + 1)
    )


def _change(before: float | None, now: float | None) -> tuple[float | None, float | None]:
    """Return the change to judge, and the one to show: None where it is infinite."""
    change = thresholds.percent_change(before, now)
    return change, None if change is None or math.isinf(change) else change


def _latency(before: LogMetrics, now: LogMetrics, noise: float, notes: Sequence[str]) -> ReportTable:
    rows: list[Row] = []
    for name in (*metric_refs.LATENCY_METRICS, metric_refs.LOOP_LAG):
        was, value = before.value(name), now.value(name)
        if was is None and value is None:
            continue
        change, shown = _change(was, value)
        histogram, _, which = name.partition(".")
        too_few = name != metric_refs.LOOP_LAG and any(
            one.samples.get(histogram, 0) < _MIN_SAMPLES[which] for one in (before, now)
        )
        rows.append((name, was, value, shown, "few samples" if too_few else _verdict(change, noise)))
    return ReportTable(
        "latency",
        "Latency",
        (
            ReportColumn("figure", "figure", "text"),
            ReportColumn("before_us", "before", "us"),
            ReportColumn("now_us", "now", "us"),
            ReportColumn("change", "change", "percent"),
            ReportColumn(
                "verdict", "verdict", "text", "few samples: too few durations, the change may be chance"
            ),
        ),
        rows,
        notes,
    )


def _traffic(before: LogMetrics, now: LogMetrics) -> ReportTable:
    rows: list[Row] = []
    for name in metric_refs.TRAFFIC_METRICS:
        rates = before.rate(name), now.rate(name)
        rows.append((name, before.value(name), now.value(name), *rates, _change(*rates)[1]))
    peaks = before.value(metric_refs.PEAK_SESSIONS), now.value(metric_refs.PEAK_SESSIONS)
    rows.append((metric_refs.PEAK_SESSIONS, *peaks, None, None, _change(*peaks)[1]))
    return ReportTable(
        "traffic",
        "Traffic (not judged)",
        (
            ReportColumn("figure", "figure", "text"),
            ReportColumn("before", "before", "count"),
            ReportColumn("now", "now", "count"),
            ReportColumn("before_per_s", "before /s", "rate"),
            ReportColumn("now_per_s", "now /s", "rate"),
            ReportColumn("change", "change", "percent", "Of the rate"),
        ),
        [tuple(_without_fraction(value) for value in row) for row in rows],
    )


def _trouble(before: LogMetrics, now: LogMetrics, noise: float) -> ReportTable:
    parts = [
        name
        for name in sorted({*before.values, *now.values})
        if "." in name and name.partition(".")[0] in {"errors", "refused"}
    ]
    rows: list[Row] = []
    for name in (*metric_refs.TROUBLE_METRICS, *parts):
        was, value = before.value(name), now.value(name)
        if was or value:
            rates = before.rate(name, _HOUR_S), now.rate(name, _HOUR_S)
            _, shown = _change(*rates)
            rows.append(
                (
                    name,
                    _without_fraction(was),
                    _without_fraction(value),
                    *rates,
                    shown,
                    _count_verdict(before, now, name, noise),
                )
            )
    return ReportTable(
        "trouble",
        "Trouble",
        (
            ReportColumn("figure", "figure", "text"),
            ReportColumn("before", "before", "count"),
            ReportColumn("now", "now", "count"),
            ReportColumn("before_per_h", "before /h", "rate"),
            ReportColumn("now_per_h", "now /h", "rate"),
            ReportColumn("change", "change", "percent", "Of the rate; empty where there was none before"),
            ReportColumn("verdict", "verdict", "text", "few: too few events, the change may be chance"),
        ),
        rows,
    )


def _without_fraction(value: float | str | None) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bounds(outcomes: Sequence[thresholds.BoundOutcome]) -> ReportTable:
    return ReportTable(
        "bounds",
        "Bounds",
        (
            ReportColumn("bound", "fails if", "text"),
            ReportColumn("figure", "figure", "text"),
            ReportColumn("found", "found", "text"),
            ReportColumn("result", "result", "text"),
        ),
        [
            (outcome.bound.text, outcome.name, _found(outcome), "broken" if outcome.broken else "kept")
            for outcome in outcomes
        ],
    )


def _found(outcome: thresholds.BoundOutcome) -> str:
    value, bound = outcome.compared, outcome.bound
    if value is None:
        return "not measured"
    if bound.kind == "percent":
        return "from nothing" if math.isinf(value) else f"{value:+.1f} %"
    if metric_refs.is_time(outcome.name):
        return f"{value / 1000:{'+' if bound.kind == 'difference' else ''}.3f} ms"
    return f"{value:,.6g}"
