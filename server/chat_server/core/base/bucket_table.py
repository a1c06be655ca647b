"""Token buckets by key, for allowances per address: how much of something one address may make.

A bucket is kept only while it is not full, and for a bounded number of keys: a new bucket behaves like a full
one. So an attacker with many addresses gains nothing by evicting other buckets, and cannot use memory beyond
the bound.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from chat_server.core.base.rate_limit import TokenBucket

MAX_KEYS: Final = 10_000
"""Buckets kept: about 3 MB; beyond that the least recently used are evicted."""

HOUR_S: Final = 3600.0


class BucketTable:
    """Buckets that allow `per_hour` tokens an hour, and as many at once. `now` is in monotonic seconds."""

    def __init__(self) -> None:
        self._per_hour = 0
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()
        self._used_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_seconds(self, key: Hashable, count: int, per_hour: int, now: float) -> float:
        """Return 0 if there are `count` tokens (of a full bucket at most), else the seconds until then."""
        self._set_rate(per_hour)
        bucket = self._buckets.get(key)
        if not per_hour or bucket is None:
            return 0.0
        wanted = min(count, per_hour)
        bucket.charge(wanted, now)
        wait = bucket.debt_seconds(now)
        bucket.charge(-wanted, now)
        return wait

    def charge(self, key: Hashable, count: int, per_hour: int, now: float) -> None:
        """Take `count` tokens even if there are fewer; a negative `count` gives back."""
        self._set_rate(per_hour)
        if not per_hour:
            return
        bucket = self._buckets.get(key)
        if bucket is None:
            if count < 0:
                return
            self._evict(now)
            bucket = self._buckets[key] = TokenBucket(per_hour / HOUR_S, per_hour, now)
        else:
            self._buckets.move_to_end(key)
        self._used_at[key] = now
        bucket.charge(count, now)

    def _set_rate(self, per_hour: int) -> None:
        if per_hour != self._per_hour:  # the limit was reloaded
            self._per_hour = per_hour
            self._buckets.clear()
            self._used_at.clear()

    def _evict(self, now: float) -> None:
        """Drop buckets that are full again, and the least recently used beyond the bound."""
        while self._buckets:
            oldest = next(iter(self._buckets))
            if len(self._buckets) < MAX_KEYS and self._used_at[oldest] + 2 * HOUR_S > now:
                return
            del self._buckets[oldest], self._used_at[oldest]
