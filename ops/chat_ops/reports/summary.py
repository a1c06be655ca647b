"""The report `summary`: a screenful that says how the server has been.

Knows which figures belong on it. Must not know how they are shown.
"""

import argparse
from typing import Final

from chat_ops.histogram import Histogram
from chat_ops.log import Log
from chat_ops.table import Column, Table

HELP: Final = "who was on, how busy, how fast, what went wrong: one screenful"

_LATENCIES: Final = ("accept_to_commit", "commit_to_sent", "rtt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: there is nothing to choose."""


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the tables of the summary."""
    return [_latency(log)]


def _latency(log: Log) -> Table:
    histograms = [
        (
            name,
            Histogram.merge(
                payload for (payload,) in log.rows(f"SELECT {name} FROM lines WHERE {name} IS NOT NULL")
            ),
        )  # noqa: E501, S608
        for name in _LATENCIES
    ]
    return Table(
        "latency",
        "Latency",
        (
            Column("figure", "figure", "text"),
            Column("count", "count", "count", "Durations measured"),
            Column("p50_us", "p50", "us"),
            Column("p99_us", "p99", "us"),
            Column("p999_us", "p99.9", "us"),
        ),
        [(name, h.count, h.percentile(50), h.percentile(99), h.percentile(99.9)) for name, h in histograms],
    )
