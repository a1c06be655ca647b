"""The report `compare`: two logs, or two times of one, side by side, and whether it has got worse.

Knows what is worse. Must not know how figures are measured (compare/metric_refs.py) nor bounds written
(compare/bounds.py).
"""

import argparse
import math
from collections.abc import Sequence
from typing import Final

from chat_ops.compare import bounds as thresholds
from chat_ops.compare import metric_refs
from chat_ops.compare.metric_refs import Measured
from chat_ops.log import cli_options
from chat_ops.log.errors import BoundBrokenError, UsageError
from chat_ops.log.event_log import Log
from chat_ops.log.input_files import STDIN
from chat_ops.table import Column, Row, Table

HELP: Final = "two logs (BEFORE NOW), or two times of one (--baseline-since …), and what has got worse"

NOISE: Final = 10.0
"""Percent by which two runs of the same differ anyway."""
_SAMPLES: Final = {"p50": 10, "p90": 50, "p99": 500, "p999": 5000, "max": 1}
"""Durations that a percentile must be of: five of them beyond it, that it be no chance."""
_HOUR: Final = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is compared with what, and the bounds."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="BEFORE NOW; or what is judged, with one of the options below",
    )
    parser.add_argument(
        "--against", nargs="+", action="extend", metavar="FILE", help="the baseline: files to compare with"
    )
    parser.add_argument("--baseline-since", metavar="TIME", help="the baseline is from then on")
    parser.add_argument("--baseline-until", metavar="TIME", help="the baseline is before then")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="BOUNDS",
        help='exit code 1 if so: "latency.p99>+20%%", "errors>0,rtt.p99>5ms"; may be repeated',
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=NOISE,
        metavar="PERCENT",
        help=f"a change up to which nothing is better or worse ({NOISE:g})",
    )


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the figures of both, and the bounds."""
    bounds = [bound for text in args.fail_if for bound in thresholds.parse(text)]
    before, now, notes = _both(log, args)
    tables = [
        _latency(before, now, args.noise, notes),
        _traffic(before, now),
        _trouble(before, now, args.noise),
    ]
    if not bounds:
        return tables
    outcomes = [outcome for bound in bounds for outcome in thresholds.judge(bound, before, now)]
    tables.append(_bounds(outcomes))
    if any(outcome.broken for outcome in outcomes):
        raise BoundBrokenError(tables)
    return tables


def _both(log: Log, args: argparse.Namespace) -> tuple[Measured, Measured, list[str]]:
    baseline = {"since": args.baseline_since, "until": args.baseline_until}
    timed = any(baseline.values())
    files = [
        next(source.path for source in log.sources if source.name == "(standard input)")
        if one == STDIN
        else one
        for one in args.files
    ]
    judged = None
    if args.against:
        first = args.against
    elif timed:
        if not (args.since or args.until):
            raise UsageError("say with --since or --until which time is compared with the baseline")
        first = files
    elif len(files) == 2:
        first, judged = files[:1], files[1:]
        baseline = {"since": args.since, "until": args.until}
    else:
        raise UsageError(
            "compare two files (BEFORE NOW), or say with what: --against FILE… or --baseline-since TIME"
        )
    with cli_options.open_log(args, files=first, **baseline) as other:
        before = metric_refs.measure(other, "the baseline")
        notes = [f"of the baseline, {other.bad} lines are no log lines"] if other.bad else []
    if judged is None:
        now = metric_refs.measure(log, "what is judged")
    else:
        with cli_options.open_log(args, files=judged) as second:
            now = metric_refs.measure(second, "what is judged")
    return before, now, [f"before: {before.seconds:,.0f} s of intervals; now: {now.seconds:,.0f} s", *notes]


def _verdict(change: float | None, noise: float) -> str | None:
    if change is None:
        return None
    return "worse" if change > noise else "better" if change < -noise else "same"


def _change(before: float | None, now: float | None) -> tuple[float | None, float | None]:
    """Return the change to judge, and the one to show, which is no number where it began with nothing."""
    change = thresholds.change(before, now)
    return change, None if change is None or math.isinf(change) else change


def _latency(before: Measured, now: Measured, noise: float, notes: Sequence[str]) -> Table:
    rows: list[Row] = []
    for name in (*metric_refs.LATENCIES, metric_refs.LOOP_LAG):
        was, value = before.value(name), now.value(name)
        if was is None and value is None:
            continue
        change, shown = _change(was, value)
        histogram, _, which = name.partition(".")
        few = name != metric_refs.LOOP_LAG and any(
            one.samples.get(histogram, 0) < _SAMPLES[which] for one in (before, now)
        )
        rows.append((name, was, value, shown, "few samples" if few else _verdict(change, noise)))
    return Table(
        "latency",
        "Latency",
        (
            Column("figure", "figure", "text"),
            Column("before_us", "before", "us"),
            Column("now_us", "now", "us"),
            Column("change", "change", "percent"),
            Column("verdict", "verdict", "text", "few samples: too few durations to tell it from chance"),
        ),
        rows,
        notes,
    )


def _traffic(before: Measured, now: Measured) -> Table:
    rows: list[Row] = []
    for name in metric_refs.TRAFFIC:
        rates = before.rate(name), now.rate(name)
        rows.append((name, before.value(name), now.value(name), *rates, _change(*rates)[1]))
    peaks = before.value(metric_refs.PEAK), now.value(metric_refs.PEAK)
    rows.append((metric_refs.PEAK, *peaks, None, None, _change(*peaks)[1]))
    return Table(
        "traffic",
        "Traffic, neither good nor bad",
        (
            Column("figure", "figure", "text"),
            Column("before", "before", "count"),
            Column("now", "now", "count"),
            Column("before_per_s", "before /s", "rate"),
            Column("now_per_s", "now /s", "rate"),
            Column("change", "change", "percent", "Of the rate"),
        ),
        [tuple(_whole(value) for value in row) for row in rows],
    )


def _trouble(before: Measured, now: Measured, noise: float) -> Table:
    parts = [
        name
        for name in sorted({*before.values, *now.values})
        if "." in name and name.partition(".")[0] in {"errors", "refused"}
    ]
    rows: list[Row] = []
    for name in (*metric_refs.TROUBLE, *parts):
        was, value = before.value(name), now.value(name)
        if was or value:
            rates = before.rate(name, _HOUR), now.rate(name, _HOUR)
            change, shown = _change(*rates)
            rows.append((name, _whole(was), _whole(value), *rates, shown, _verdict(change, noise)))
    return Table(
        "trouble",
        "Trouble",
        (
            Column("figure", "figure", "text"),
            Column("before", "before", "count"),
            Column("now", "now", "count"),
            Column("before_per_h", "before /h", "rate"),
            Column("now_per_h", "now /h", "rate"),
            Column("change", "change", "percent", "Of the rate; empty where there was none before"),
            Column("verdict", "verdict", "text"),
        ),
        rows,
    )


def _whole(value: float | str | None) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bounds(outcomes: Sequence[thresholds.Outcome]) -> Table:
    return Table(
        "bounds",
        "Bounds",
        (
            Column("bound", "fails if", "text"),
            Column("figure", "figure", "text"),
            Column("found", "found", "text"),
            Column("result", "result", "text"),
        ),
        [
            (outcome.bound.text, outcome.name, _found(outcome), "broken" if outcome.broken else "kept")
            for outcome in outcomes
        ],
    )


def _found(outcome: thresholds.Outcome) -> str:
    value, bound = outcome.compared, outcome.bound
    if value is None:
        return "not measured"
    if bound.how == "percent":
        return "from nothing" if math.isinf(value) else f"{value:+.1f} %"
    if metric_refs.is_time(outcome.name):
        return f"{value / 1000:{'+' if bound.how == 'difference' else ''}.3f} ms"
    return f"{value:,.6g}"
