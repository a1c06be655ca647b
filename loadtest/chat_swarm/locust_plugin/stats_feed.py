"""Samples by the batch into Locust's own tables, as if each had been a Locust event.

Knows Locust's statistics. Must not know how samples come about. An event for each of 20,000 deliveries a
second would cost Locust most of a core; a batch of them costs under a millisecond.
"""

import time
from collections.abc import Iterable
from operator import mul

from locust import stats as locust_stats
from locust.stats import RequestStats, StatsEntry, StatsError

from chat_swarm.model.metric_names import LatencyMetric


class StatsFeed:
    """Adds to one RequestStats: the environment's, once Locust has made its runner (a worker's is new then).

    What a worker adds travels to the master with Locust's own reports.
    """

    __slots__ = ("_stats",)

    def __init__(self, stats: RequestStats) -> None:
        self._stats = stats

    def add_samples(
        self, metric: LatencyMetric, samples: Iterable[tuple[float, int]], length_bytes: int = 0
    ) -> None:
        """Count (milliseconds, how often) pairs under the metric's name; in the total if it is of the server.

        Each is there at least once. `length_bytes` is the size of all together. All count for this second.
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
        """Count failures under the metric's name, or under a name of its own and `kind`."""
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
                # As Locust does for a single request: what was there when a second ended is kept for the
                # page's percentiles of the last ten. `extend` would keep the second's first batch only.
                if entry.use_response_times_cache and last is not None and int(now) > int(last):
                    entry._cache_response_times(int(now) - 1)  # noqa: SLF001
                entry.last_request_timestamp = now
            entry.extend(batch)
