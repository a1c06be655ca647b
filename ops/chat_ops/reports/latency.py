"""The report `latency`: how long messages took, in each step of time, each room or on each node.

Knows which intervals belong together. Must not know how histograms are added up.
"""

import argparse
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.stats import percentiles
from chat_ops.stats.histogram import Histogram
from chat_ops.table import Column, Row, Table

HELP: Final = "how long it took from acceptance to commit and from commit to the last send, as percentiles"

FIGURES: Final = {
    "accept_to_commit": "From a message's acceptance to its commit",
    "commit_to_sent": "From a commit to the last member's send",
}
_BUSIEST: Final = "the server measures its busiest rooms in each interval: what a room did beside is not here"
_PARTS: Final = {
    "room": "SELECT ts, interval_s, r.room AS part, r.messages, r.accept_to_commit, r.commit_to_sent"
    " FROM (SELECT ts, interval_s, unnest(rooms) AS r FROM {few} WHERE event = 'interval')",
    "node": "SELECT ts, interval_s, node AS part, messages, accept_to_commit, commit_to_sent"
    " FROM {few} WHERE event = 'interval'",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how to divide, and how finely."""
    parser.add_argument("--by", choices=("time", *_PARTS), default="time", help="divide by (time)")
    parser.add_argument(
        "--every", metavar="STEP", help="how wide a step is: 10s, 5m, 1h (chosen by the span)"
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="busiest rooms or nodes shown (20)")


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the whole, then its parts."""
    width = time_buckets.width_for(log, args.every, wanted=24)
    needs = ("interval_s", "messages", *FIGURES, *(["rooms"] if args.by == "room" else []))
    few = log.few(*needs)
    figures = {name: percentiles.steps(log, name, width, few) for name in FIGURES}
    tables = [percentiles.whole(figures, width)]
    if args.by == "time":
        every = f"every {time_buckets.named(width)}"
        return [
            *tables,
            *(percentiles.by_step(name, f"{FIGURES[name]}, {every}", of) for name, of in figures.items()),
        ]
    return [*tables, _by(log, few, args.by, max(args.top, 0), width)]


def _by(log: Log, few: str, what: str, top: int, width: int) -> Table:
    log.keep("parts", _PARTS[what].format(few=few))
    busiest = log.rows(
        "SELECT part FROM parts GROUP BY part HAVING count(accept_to_commit) + count(commit_to_sent) > 0"
        " ORDER BY sum(messages) DESC NULLS LAST, part"
    )
    rows: list[Row] = []
    notes = [_BUSIEST] if what == "room" else []
    if len(busiest) > top:
        notes.append(f"the {top} busiest of {len(busiest)}; --top N shows more")
    totals = []
    for (part,) in busiest[:top]:  # one at a time, so that but one's payloads are in memory
        log.keep("part", "SELECT * FROM parts WHERE part IS NOT DISTINCT FROM ?", part)
        for name in FIGURES:
            of = percentiles.steps(log, name, width, "part")
            total = Histogram.total(of.values())
            totals.append(total)
            if total.count:
                rows.append((part, name, *percentiles.cells(total), percentiles.over_time(of, width)))
    columns = (Column("figure", "figure", "text"), *percentiles.COLUMNS, percentiles.SPARK)
    return Table(
        f"by_{what}",
        f"By {what}",
        (Column(what, what, "text"), *columns),
        rows,
        [*notes, *percentiles.unread(totals)],
    )
