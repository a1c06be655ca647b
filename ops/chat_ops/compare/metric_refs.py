"""Named metrics of a log for comparisons: names, units and values.

Names:

    accept_to_commit.p99, commit_to_sent.max, rtt.p50 …    latencies: p50 p90 p99 p999 max, in µs
    loop_lag.max                                           in µs
    messages, deliveries, opened, closed, bytes_in …       traffic: counted, compared per second
    sessions.peak                                          a number
    errors, errors.CODE, refused, refused.REASON …         trouble: counted, compared per hour
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.stats.percentiles import PERCENTILES
from chat_server.vocabulary import HISTOGRAMS

LATENCY: Final = "latency"
"""Short for both latencies of a message: a bound on it applies to each."""
LATENCY_METRICS: Final = tuple(f"{name}.{which}" for name in HISTOGRAMS for which in PERCENTILES)
LOOP_LAG: Final = "loop_lag.max"
PEAK_SESSIONS: Final = "sessions.peak"
TRAFFIC_METRICS: Final = ("messages", "deliveries", "opened", "closed", "bytes_in", "bytes_out")
_EVENTS: Final = {
    "lags": "reader_lagging",
    "internal_errors": "internal_error",
    "store_failures": "store_failed",
    "hub_blocked": "hub_blocked",
    "starts": "server_started",
}
_SUMMED: Final = {"messages_refused": "batch_refused", "log_lines_dropped": "log_lines_dropped"}
_MAPS: Final = ("errors", "refused")
TROUBLE_METRICS: Final = (*_MAPS, "stalled", "flooding", *_EVENTS, *_SUMMED)
METRICS_WITH_PARTS: Final = (*_MAPS, "closed")
"""Metrics with a part for each code or reason: `errors.rate_limited`."""
METRIC_NAMES: Final = (*LATENCY_METRICS, LOOP_LAG, *TRAFFIC_METRICS, PEAK_SESSIONS, *TROUBLE_METRICS)


@dataclass(frozen=True, slots=True)
class LogMetrics:
    """Metrics of one log (or a period of it) by name, and its length in seconds."""

    seconds: float
    values: Mapping[str, float]
    """Latencies in µs, everything else as counted. A missing metric was not measured."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """Number of durations by histogram."""

    def value(self, name: str) -> float | None:
        """Return a metric, None if not measured; a part (`errors.CODE`) that never occurred is 0."""
        whole = name.partition(".")[0]
        if name not in self.values and whole in METRICS_WITH_PARTS and whole in self.values:
            return 0.0
        return self.values.get(name)

    def rate(self, name: str, per_s: float = 1.0) -> float | None:
        """Return the count per `per_s` seconds, None if it was not measured."""
        value = self.value(name)
        return None if value is None else value / self.seconds * per_s


def is_time(name: str) -> bool:
    """Return whether a metric is a time (µs)."""
    return name in LATENCY_METRICS or name == LOOP_LAG


def is_count(name: str) -> bool:
    """Return whether a metric is a count, which is compared by its rate."""
    return not is_time(name) and name != PEAK_SESSIONS


def measure_log(log: EventLog, what: str) -> LogMetrics:
    """Return the metrics of a log, which messages call `what`. Raises `UsageError` without intervals."""
    rare = log.rare_events(
        "interval_s",
        "sessions",
        "loop_lag_max_ms",
        "count",
        *HISTOGRAMS,
        *TRAFFIC_METRICS,
        *METRICS_WITH_PARTS,
    )
    ((seconds,),) = log.rows(
        f"SELECT max(covered) FROM (SELECT sum(interval_s::DECIMAL(28, 6))::DOUBLE AS covered FROM {rare}"  # noqa: S608  ours
        " WHERE event = 'interval' GROUP BY node)"
    )
    if not seconds or seconds <= 0:
        raise UsageError(f"{what} has no interval lines: nothing to compare")
    values: dict[str, float] = {}
    samples: dict[str, int] = {}
    payloads = " UNION ALL ".join(f"SELECT '{name}', {name} FROM {rare}" for name in HISTOGRAMS)  # noqa: S608  as above
    merged: dict[str, SparseHistogram] = SparseHistogram.merge_groups(log.rows(payloads))
    for name, histogram in merged.items():
        samples[name] = histogram.count
        for which, of in PERCENTILES.items():
            if (value := histogram.percentile(of)) is not None:
                values[f"{name}.{which}"] = value
    _add_counts(log, rare, values)
    return LogMetrics(seconds, values, samples)


def _add_counts(log: EventLog, rare: str, values: dict[str, float]) -> None:
    plain = [name for name in TRAFFIC_METRICS if name != "closed"]
    ((lag, peak, *sums),) = log.rows(
        "SELECT max(loop_lag_max_ms) * 1000,"  # noqa: S608  as above
        " (SELECT sum(most) FROM (SELECT max(sessions) AS most"
        f" FROM {rare} WHERE event = 'interval' GROUP BY node)),"
        f" {', '.join(f'sum({name})' for name in plain)} FROM {rare} WHERE event = 'interval'"
    )
    measured = {LOOP_LAG: lag, PEAK_SESSIONS: peak, **dict(zip(plain, sums, strict=True))}
    values.update({name: float(value) for name, value in measured.items() if value is not None})
    for name in METRICS_WITH_PARTS:
        if not log.rows(f"SELECT count({name}) FROM {rare} WHERE event = 'interval'")[0][0]:  # noqa: S608  as above
            continue  # not counted, e.g. for one room
        parts = log.rows(
            f"SELECT one.key, sum(one.value) FROM (SELECT unnest(map_entries({name})) AS one FROM {rare}"  # noqa: S608  as above
            " WHERE event = 'interval') GROUP BY 1"
        )
        values[name] = float(sum(count or 0 for _, count in parts))
        values.update({f"{name}.{part}": float(count or 0) for part, count in parts})
    if "closed" in values:
        values["stalled"] = values.get("closed.stalled", 0.0)
        values["flooding"] = values.get("closed.flooding", 0.0)
    events = {
        event: (lines, count or 0)
        for event, lines, count in log.rows(f"SELECT event, count(*), sum(count) FROM {rare} GROUP BY event")  # noqa: S608  as above
    }
    values.update({name: float(events.get(event, (0, 0))[0]) for name, event in _EVENTS.items()})
    values.update({name: float(events.get(event, (0, 0))[1]) for name, event in _SUMMED.items()})
