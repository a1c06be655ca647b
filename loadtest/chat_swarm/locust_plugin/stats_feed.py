"""Feeds samples into Locust's statistics in batches, with the result of one request event per sample.

An event for each of 20,000 deliveries a second would cost Locust most of a core; a batch costs under a
millisecond.
"""

import time
from collections.abc import Iterable
from operator import mul

from locust import stats as locust_stats
from locust.stats import RequestStats, StatsEntry, StatsError

from chat_swarm.model.metric_names import LatencyMetric


class StatsFeed:
    """Adds to one `RequestStats`: the runner's, since a worker's runner has its own.

    What a worker adds reaches the master by Locust's own reports.
    """

    __slots__ = ("_stats",)

    def __init__(self, stats: RequestStats) -> None:
        self._stats = stats

    def add_samples(
        self, metric: LatencyMetric, samples: Iterable[tuple[float, int]], length_bytes: int = 0
    ) -> None:
        """Add (milliseconds, count) pairs to the metric's row, and to the total if it measures the server.

        Counts are at least 1. `length_bytes` is the total size. All samples count for the current second.
        """
        pairs = tuple(samples)
        if not pairs:
            return
        values, counts = zip(*pairs, strict=True)
        batch = StatsEntry(self._stats, metric.name, metric.locust_type)
        now = time.time()
        batch.num_requests = sum(counts)
        batch.num_reqs_per_sec[int(now)] = batch.num_requests
        batch.last_request_timestamp = now
        batch.total_response_time = sum(map(mul, values, counts))
        batch.min_response_time = min(values)
        batch.max_response_time = max(values)
        batch.total_content_length = length_bytes
        bucket = locust_stats.bucket_response_time  # looked up each time: Locust lets users replace it
        times = batch.response_times
        for value, count in pairs:
            times[bucket(value)] += count
        self._extend(batch, of_server=metric.measures_server)

    def add_failures(
        self, what: LatencyMetric | str, error: str, count: int = 1, kind: str = "audit"
    ) -> None:
        """Add `count` failures to the metric's row, or to a row of that name and `kind`."""
        if count <= 0:
            return
        name, kind = (what, kind) if isinstance(what, str) else (what.name, what.locust_type)
        now = time.time()
        batch = StatsEntry(self._stats, name, kind)
        batch.num_failures = count
        batch.num_fail_per_sec[int(now)] = count
        self._extend(batch, of_server=isinstance(what, str) or what.measures_server)
        key = StatsError.create_key(kind, name, error)
        entry = self._stats.errors.setdefault(key, StatsError(kind, name, error))
        entry.occurrences += count
        entry.first_seen = entry.first_seen or now
        entry.last_seen = now

    def _extend(self, batch: StatsEntry, *, of_server: bool) -> None:
        own = self._stats.entries[batch.name, batch.method]
        for entry in (own, self._stats.total) if of_server else (own,):
            now, last = batch.last_request_timestamp, entry.last_request_timestamp
            if now is not None:
                # As Locust does for a single request: the state at the end of a second is cached for the
                # page's percentiles of the last ten seconds. `extend` alone would cache the first batch only.
                if entry.use_response_times_cache and last is not None and int(now) > int(last):
                    entry._cache_response_times(int(now) - 1)  # noqa: SLF001
                entry.last_request_timestamp = now
            entry.extend(batch)
