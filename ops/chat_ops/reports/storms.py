"""The report `storms`: bursts of opened, closed or refused connections, and floods.

A second belongs to a storm if unusually many sessions began or ended in it: more than `--factor` deviations
above the median of all seconds (stats/outliers.py), and more than `--floor`. Refusals and rate-limited
messages are counted per interval only, so they are judged per interval.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.queries import floods
from chat_ops.reports import row_limit
from chat_ops.stats import outlier_intervals, outliers
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportColumn, ReportTable, Row

HELP: Final = "reconnect storms and floods: time, size, reasons, and their effect on latency"

COMPARED_BEFORE_S: Final = 300.0
"""Seconds before a storm with whose latency it is compared."""

_SECONDS: Final = """
SELECT epoch(date_trunc('second', ts)) AS second, event = 'session_opened' AS opening,
    coalesce(reason, '') AS reason, count(*) AS times, count(*) FILTER (resumed) AS resumed
FROM lines WHERE event IN ('session_opened', 'session_closed') GROUP BY ALL
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the thresholds of a storm."""
    parser.add_argument(
        "--factor",
        type=float,
        default=outliers.STORM_DEVIATIONS,
        metavar="N",
        help=f"deviations above the median that make a storm ({outliers.STORM_DEVIATIONS:g})",
    )
    parser.add_argument(
        "--floor",
        type=float,
        default=outliers.STORM_FLOOR_PER_S,
        metavar="N",
        help=f"rates (per second) up to this are never a storm ({outliers.STORM_FLOOR_PER_S:g})",
    )
    row_limit.add_top_option(parser, 50, "rows of each table")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the storms, the floods, and the sessions and addresses that caused them."""
    if math.isnan(args.factor) or math.isnan(args.floor):
        raise UsageError("--factor and --floor must be numbers, not nan")
    log.materialise("storm_seconds", _SECONDS)
    outlier_intervals.make_intervals_table(log)
    top = args.top
    return [_storms(log, args.factor, args.floor, top), *floods.flood_tables(log, args.factor, top)]


def _storms(log: EventLog, factor: float, floor: float, top: int) -> ReportTable:
    total = _log_seconds(log)
    spans: list[outliers.TimeSpan] = []
    notes: list[str] = []
    for what, opening in (("opened", True), ("closed", False)):
        per_second = (
            "SELECT second, sum(times)::BIGINT AS times FROM storm_seconds WHERE opening = ? GROUP BY second"
        )
        rates = log.rows(f"SELECT times, count(*) FROM ({per_second}) GROUP BY times", opening)  # noqa: S608  ours
        found = outliers.rate_baseline({float(rate): seconds for rate, seconds in rates}, total)
        bound = found.threshold(factor, floor)
        notes.append(f"{what}: median {found.median:.3g}/s; a storm above {bound:.3g}/s")
        over = log.rows(f"SELECT second FROM ({per_second}) WHERE times > ?", opening, bound)  # noqa: S608  ours
        spans += [outliers.TimeSpan(second, second + 1) for (second,) in over]
    for begun, ended in outlier_intervals.find_outliers(log, "refused", factor, floor):
        spans.append(outliers.TimeSpan(begun, ended))
    storms = [_storm(log, span) for span in outliers.join_spans(spans)]
    storms.sort(key=lambda row: (-(row[3] + row[4] + row[7]), row[0]))
    if len(storms) > top:
        notes.append(f"the {top} largest of {len(storms)}; --top N shows more")
    return ReportTable(
        "storms",
        "Storms",
        (
            ReportColumn("from", "from", "time"),
            ReportColumn("lasted_s", "lasted", "seconds"),
            ReportColumn(
                "kind", "kind", "text", "reconnects, arrivals, departures or refusals: its main cause"
            ),
            ReportColumn("opened", "opened", "count", "Sessions opened or resumed"),
            ReportColumn("closed", "closed", "count", "Sessions that ended"),
            ReportColumn("reasons", "closed by", "text", "Reasons, the most frequent first", drop_order=1),
            ReportColumn(
                "resumed",
                "resumed",
                "percent",
                "Share of the opened sessions: resumed ones",
                drop_order=2,
            ),
            ReportColumn(
                "refused", "refused", "count", "Connections refused, by whole intervals", drop_order=1
            ),
            ReportColumn(
                "peak", "peak", "rate", "Most sessions opened, or closed, in a second", drop_order=2
            ),
            ReportColumn("p99_us", "p99", "us", "Commit to the last send, in the intervals of the storm"),
            ReportColumn(
                "p99_before_us",
                "p99 before",
                "us",
                f"The same in the {COMPARED_BEFORE_S:g} s before",
                drop_order=1,
            ),
        ),
        sorted(storms[:top], key=lambda row: row[0]),
        notes if total else [],
    )


def _log_seconds(log: EventLog) -> int:
    ((first, last),) = log.rows(
        "SELECT min(first), max(last) FROM ("
        "SELECT min(second) AS first, max(second) + 1 AS last FROM storm_seconds"
        " UNION ALL SELECT min(begun), max(ended) FROM storm_intervals)"
    )
    return 0 if first is None else max(round(last - first), 1)


def _storm(log: EventLog, span: outliers.TimeSpan) -> Row:
    opened = resumed = 0
    seconds: Counter[tuple[float, bool]] = Counter()
    reasons: Counter[str] = Counter()
    for second, opening, reason, times, back in log.rows(
        "SELECT second, opening, reason, times, resumed FROM storm_seconds WHERE second >= ? AND second < ?",
        span.begin,
        span.end,
    ):
        seconds[second, opening] += times
        if opening:
            opened += times
            resumed += back
        else:
            reasons[reason] += times
    during = "begun < ? AND ended > ?"
    ((refused,),) = log.rows(
        f"SELECT coalesce(sum(refused), 0)::BIGINT FROM storm_intervals WHERE {during}",  # noqa: S608  ours
        span.end,
        span.begin,
    )
    return (
        outlier_intervals.utc_time(span.begin),
        span.end - span.begin,
        _kind(opened, resumed, reasons.total(), refused),
        opened,
        reasons.total(),
        _format_reasons(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
        100 * resumed / opened if opened else None,
        refused,
        max(seconds.values(), default=0),
        _commit_to_sent_p99(log, during, span.end, span.begin),
        _commit_to_sent_p99(log, "begun >= ? AND ended <= ?", span.begin - COMPARED_BEFORE_S, span.begin),
    )


def _kind(opened: int, resumed: int, closed: int, refused: int) -> str:
    if refused > max(opened, closed):
        return "refusals"
    if closed > 2 * opened:
        return "departures"
    return "reconnects" if 2 * resumed >= opened else "arrivals"


def _format_reasons(reasons: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{reason or '?'} {times}" for reason, times in reasons)


def _commit_to_sent_p99(log: EventLog, where: str, *params: float) -> float | None:
    payloads = log.rows(
        f"SELECT commit_to_sent FROM storm_intervals WHERE commit_to_sent IS NOT NULL AND {where}",  # noqa: S608  ours
        *params,
    )
    return SparseHistogram.merge(payload for (payload,) in payloads).percentile(99)
