"""The report `latency`: percentiles of message latency by time step, room or node."""

import argparse
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.reports import row_limit
from chat_ops.stats import percentiles
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportColumn, ReportTable, Row

HELP: Final = "message latency percentiles: acceptance to commit, and commit to the last send"

LATENCY_TITLES: Final = {
    "accept_to_commit": "From a message's acceptance to its commit",
    "commit_to_sent": "From a commit to the last member's send",
}
_BUSIEST_NOTE: Final = "an interval has only its ten busiest rooms: a room's other messages are not included"
_PART_ROWS: Final = {
    "room": "SELECT ts, interval_s, r.room AS part, r.messages, r.accept_to_commit, r.commit_to_sent"
    " FROM (SELECT ts, interval_s, unnest(rooms) AS r FROM {rare} WHERE event = 'interval')",
    "node": "SELECT ts, interval_s, node AS part, messages, accept_to_commit, commit_to_sent"
    " FROM {rare} WHERE event = 'interval'",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the grouping and the step width."""
    parser.add_argument("--by", choices=("time", *_PART_ROWS), default="time", help="group by (time)")
    parser.add_argument("--every", metavar="STEP", help="width of a step: 10s, 5m, 1h (chosen by the period)")
    row_limit.add_top_option(parser, 20, "busiest rooms or nodes shown")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the totals, then the groups."""
    width = time_buckets.choose_width(log, args.every, max_steps=24)
    needs = ("interval_s", "messages", *LATENCY_TITLES, *(["rooms"] if args.by == "room" else []))
    rare = log.rare_events(*needs)
    figures = {name: percentiles.histograms_by_step(log, name, width, rare) for name in LATENCY_TITLES}
    tables = [percentiles.total_table(figures, width)]
    if args.by == "time":
        every = f"every {time_buckets.format_width(width)}"
        return [
            *tables,
            *(
                percentiles.step_table(name, f"{LATENCY_TITLES[name]}, {every}", of)
                for name, of in figures.items()
            ),
        ]
    return [*tables, _table_by(log, rare, args.by, args.top, width)]


def _table_by(log: EventLog, rare: str, what: str, top: int, width: int) -> ReportTable:
    log.materialise("parts", _PART_ROWS[what].format(rare=rare))
    busiest = log.rows(
        "SELECT part FROM parts GROUP BY part HAVING count(accept_to_commit) + count(commit_to_sent) > 0"
        " ORDER BY sum(messages) DESC NULLS LAST, part"
    )
    rows: list[Row] = []
    notes = [_BUSIEST_NOTE] if what == "room" else []
    if len(busiest) > top:
        notes.append(f"the {top} busiest of {len(busiest)}; --top N shows more")
    totals = []
    for (part,) in busiest[:top]:  # one at a time: only its payloads are in memory
        log.materialise("part", "SELECT * FROM parts WHERE part IS NOT DISTINCT FROM ?", part)
        for name in LATENCY_TITLES:
            of = percentiles.histograms_by_step(log, name, width, "part")
            total = SparseHistogram.total(of.values())
            totals.append(total)
            if total.count:
                rows.append(
                    (part, name, *percentiles.percentile_cells(total), percentiles.p99_over_time(of, width))
                )
    columns = (
        ReportColumn("figure", "figure", "text"),
        *percentiles.PERCENTILE_COLUMNS,
        percentiles.P99_SPARKLINE,
    )
    return ReportTable(
        f"by_{what}",
        f"By {what}",
        (ReportColumn(what, what, "text"), *columns),
        rows,
        [*notes, *percentiles.unreadable_note(totals)],
    )
