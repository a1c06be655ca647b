"""Collects the values of the metrics in one short step of the event loop.

`take_snapshot` and `add_interval` run in the loop; `Snapshot.values` runs in the thread of the HTTP server
and does not block the loop.

MUST NOT iterate over sessions or rooms: a scrape costs the same with ten thousand sessions as with none,
except for the distinct durations of the current interval (some hundreds, whatever the load).
"""

import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from chat_server.core.base.interval_stats import Tally
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.committer import Committer
from chat_server.net.connections import Connections
from chat_server.observability.log_reporter import resident_bytes
from chat_server.observability.log_sink import LogSink
from chat_server.observability.loop_watchdog import LagSummary
from chat_server.observability.metrics.health import Health
from chat_server.observability.metrics.table import (
    END_REASONS,
    ERROR_CODES,
    LAG_BOUNDS_S,
    LATENCY_BOUNDS_S,
    OTHER,
)
from chat_server.observability.metrics.totals import (
    COUNTER_FIELDS,
    NUMBER_FIELDS,
    TALLY_FIELDS,
    HistogramCounts,
    LifetimeHistogram,
    Totals,
)

Value = float | Mapping[tuple[str, ...], float] | HistogramCounts
"""Value of a metric: a number, numbers by label values, or a histogram."""

_NUMBER_METRICS: Final = {
    "messages": "greenroom_messages_total",
    "deliveries": "greenroom_deliveries_total",
    "commits": "greenroom_commits_total",
    "bytes_in": "greenroom_received_bytes_total",
    "bytes_out": "greenroom_sent_bytes_total",
    "caught_up": "greenroom_caught_up_total",
    "throttled": "greenroom_throttled_total",
    "opened": "greenroom_sessions_opened_total",
}
_COUNTER_METRICS: Final = {
    "closed": ("greenroom_sessions_closed_total", END_REASONS),
    "refused": ("greenroom_connections_refused_total", END_REASONS),
    "errors": ("greenroom_errors_total", ERROR_CODES),
}
_DISK_METRICS: Final = {
    "store_bytes": "greenroom_store_bytes",
    "wal_bytes": "greenroom_wal_bytes",
    "free_bytes": "greenroom_free_bytes",
}
_PROC_SELF: Final = Path("/proc/self")


class Snapshot(NamedTuple):
    """The state of all metrics at one time, copied in the loop."""

    numbers: dict[str, Value]
    plain: dict[str, int]
    named: dict[str, Counter[str]]
    latencies: dict[str, tuple[LifetimeHistogram, Tally]]
    lag: LifetimeHistogram
    disk_sizes: Callable[[], Mapping[str, int]]

    def values(self) -> dict[str, Value]:
        """Return the values by name of the metric. Reads files and sums tallies: not for the loop."""
        values: dict[str, Value] = {**self.numbers}
        values.update((_NUMBER_METRICS[name], value) for name, value in self.plain.items())
        for name, counts in self.named.items():
            metric, known = _COUNTER_METRICS[name]
            values[metric] = _counts_by_label(counts, known)
        for name, (histogram, tally) in self.latencies.items():
            histogram.add_tally(tally)
            values[f"greenroom_{name}_seconds"] = histogram.counts()
        values["greenroom_loop_lag_seconds"] = self.lag.counts()
        values.update(_disk_values(self.disk_sizes))
        values.update(_process_values())
        return values


class MetricsCollector:
    """Keeps the totals since the start, and takes snapshots."""

    def __init__(
        self,
        constants: Mapping[str, Value],
        hub: Hub,
        committer: Committer,
        connections: Connections,
        disk_sizes: Callable[[], Mapping[str, int]],
        sink: LogSink,
        health: Health,
        max_connections: Callable[[], int],
    ) -> None:
        """Read from these objects; `constants` are the metrics that do not change while the server runs."""
        self._constants = constants
        self._hub = hub
        self._committer = committer
        self._connections = connections
        self._disk_sizes = disk_sizes
        self._sink = sink
        self._health = health
        self._max_connections = max_connections
        self._totals = Totals(LATENCY_BOUNDS_S, LAG_BOUNDS_S)
        self._bytes_direct = 0

    def add_interval(self, lag: LagSummary, bytes_direct: int) -> None:
        """Add the interval that is ending; `bytes_direct` is a total since the start.

        MUST be called before the interval line is written, which resets the interval's counts.
        """
        stats = self._hub.stats
        self._totals.add_interval(stats, lag.tally)
        self._totals.plain["bytes_out"] += bytes_direct - self._bytes_direct
        self._bytes_direct = bytes_direct

    def take_snapshot(self) -> Snapshot:
        """Return the current state. Runs in the loop: MUST NOT iterate over sessions, nor read files."""
        started = time.perf_counter()
        totals, stats = self._totals, self._hub.stats
        snapshot = Snapshot(
            numbers=self._numbers(),
            plain={name: totals.plain[name] + getattr(stats, name) for name in NUMBER_FIELDS},
            named={name: totals.named[name] + getattr(stats, name) for name in COUNTER_FIELDS},
            latencies={
                name: (totals.tallies[name].copy(), dict(getattr(stats, name))) for name in TALLY_FIELDS
            },
            lag=totals.lag.copy(),
            disk_sizes=self._disk_sizes,
        )
        snapshot.numbers["greenroom_snapshot_seconds"] = time.perf_counter() - started
        return snapshot

    def _numbers(self) -> dict[str, Value]:
        hub, connections = self._hub, self._connections
        return {
            **self._constants,
            "greenroom_ready": not self._health.not_ready_reason(),
            "greenroom_sessions": len(hub.sessions),
            "greenroom_sessions_held": hub.resumable.held_count,
            "greenroom_sessions_lagging": len(hub.backfill.lagging_sessions),
            "greenroom_connections": len(connections.registered),
            "greenroom_connections_unnamed": len(connections.unnamed),
            "greenroom_connections_limit": self._max_connections(),
            "greenroom_public_rooms": len(hub.rooms),
            "greenroom_conversations": len(hub.conversations.by_name),
            "greenroom_store_failing": self._health.store_failing,
            "greenroom_messages_unreadable": self._health.unreadable_messages,
            "greenroom_queue_bytes": hub.ingest.queued_bytes,
            "greenroom_messages_refused_total": self._committer.refused_messages,
            "greenroom_log_lines_dropped_total": self._sink.lines_dropped,
            "greenroom_log_write_failures_total": self._sink.write_failures,
        }


def _counts_by_label(counts: Counter[str], known: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    """Return a count for each known label value, also zeros; all others count as `other`."""
    values: dict[tuple[str, ...], float] = {(name,): 0 for name in known}
    for name, count in counts.items():
        values[str(name) if (str(name),) in values else OTHER,] += count
    return values


def _disk_values(disk: Callable[[], Mapping[str, int]]) -> dict[str, Value]:
    """Return the sizes on the disk; empty without a data file, or if its folder has gone."""
    try:
        return {_DISK_METRICS[field]: size for field, size in disk().items()}
    except OSError:  # the store logs it, and the metric is missing
        return {}


def _process_values() -> dict[str, Value]:
    """Return Prometheus' usual metrics of a process, without listing ten thousand descriptors."""
    values: dict[str, Value] = {
        "process_cpu_seconds_total": time.process_time(),
        "process_resident_memory_bytes": resident_bytes(),
        "process_start_time_seconds": PROCESS_STARTED_AT,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    with suppress(OSError):  # no Linux
        if count := (_PROC_SELF / "fd").stat().st_size:  # since Linux 6.2 the size is the number of entries
            values["process_open_fds"] = count
    return values


def _process_start_time() -> float:
    """Return when this process started, in seconds since 1970 (proc(5)); now, if there is no /proc."""
    try:
        ticks = int((_PROC_SELF / "stat").read_text().rpartition(")")[2].split()[19])
        booted = next(
            float(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime")
        )
    except (OSError, StopIteration):
        return time.time()
    return booted + ticks / os.sysconf("SC_CLK_TCK")


PROCESS_STARTED_AT: Final = _process_start_time()
