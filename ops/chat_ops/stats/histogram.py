"""Sparse latency histograms, merged exactly from the log's HdrHistograms.

Histograms of equal layout are merged by adding counts, so a percentile of the sum is as exact as one of a
single histogram. Percentiles are never averaged.
"""

import itertools
from collections.abc import Hashable, Iterable
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from chat_ops.stats import hdr_codec
from chat_ops.stats.hdr_codec import BUCKET_COUNT, Ints

_BATCH_PAYLOADS: Final = 256
_EMPTY: Final = np.zeros(0, np.int64)

K = TypeVar("K", bound=Hashable)


class SparseHistogram:
    """Counts of durations (µs); only non-empty buckets take memory."""

    __slots__ = ("_buckets", "_counts", "broken")

    def __init__(self, buckets: Ints = _EMPTY, counts: Ints = _EMPTY, broken: int = 0) -> None:
        self._buckets = buckets  # ascending, unique
        self._counts = counts
        self.broken = broken
        """How many payloads could not be read; they count as empty."""

    @classmethod
    def merge(cls, encoded: Iterable[str | None]) -> "SparseHistogram":
        """Return the sum of base64 HdrHistograms (V2, compressed); None counts as empty."""
        return cls.merge_groups((None, payload) for payload in encoded).get(None, cls())

    @classmethod
    def merge_groups(cls, pairs: Iterable[tuple[K, str | None]]) -> "dict[K, SparseHistogram]":
        """Return the sums by key (e.g. room or time step), in order of first occurrence.

        A key whose payloads are all None gets an empty histogram.
        """
        numbers: dict[K, int] = {}
        broken: dict[int, int] = {}
        keys, counts = _EMPTY, _EMPTY  # key: number of the group * BUCKET_COUNT + bucket
        waiting: list[tuple[Ints, Ints]] = []
        waiting_size = 0
        feed = iter(pairs)
        while batch := list(itertools.islice(feed, _BATCH_PAYLOADS)):
            groups = [numbers.setdefault(key, len(numbers)) for key, _ in batch]
            given = [(group, payload) for group, (_, payload) in zip(groups, batch, strict=True) if payload]
            found, bad = hdr_codec.decode_payloads([payload for _, payload in given])
            for position in bad:
                group = given[position][0]
                broken[group] = broken.get(group, 0) + 1
            group_of = np.array([group for group, _ in given], np.int64)
            waiting.append((group_of[found.payload] * BUCKET_COUNT + found.bucket, found.times))
            waiting_size += len(found.times)
            if waiting_size > max(len(keys), 1 << 20):
                keys, counts = _sum_by_key((keys, counts), *waiting)
                waiting, waiting_size = [], 0
        keys, counts = _sum_by_key((keys, counts), *waiting)
        bounds = np.searchsorted(keys, np.arange(len(numbers) + 1) * BUCKET_COUNT)
        return {
            key: cls(
                keys[bounds[n] : bounds[n + 1]] - n * BUCKET_COUNT,
                counts[bounds[n] : bounds[n + 1]],
                broken.get(n, 0),
            )
            for key, n in numbers.items()
        }

    @classmethod
    def total(cls, histograms: "Iterable[SparseHistogram]") -> "SparseHistogram":
        """Return the sum of histograms."""
        every = list(histograms)
        buckets, counts = _sum_by_key(*((one._buckets, one._counts) for one in every))  # noqa: SLF001  same class
        return cls(buckets, counts, sum(one.broken for one in every))

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return int(self._counts.sum())

    @property
    def max(self) -> float | None:
        """The longest duration (µs, within the precision); None if there are none."""
        return float(hdr_codec.bucket_highest_us(self._buckets[-1:])[0]) if len(self._buckets) else None

    def percentile(self, percent: float) -> float | None:
        """Return the duration (µs) that `percent` of all do not exceed; None if there are none.

        As in HdrHistogram it is the highest value of the bucket, at most 0.1 % above the true one.
        """
        if not len(self._buckets):
            return None
        upto = np.cumsum(self._counts)
        wanted = max(int(percent / 100 * int(upto[-1]) + 0.5), 1)
        place = min(int(np.searchsorted(upto, wanted)), len(upto) - 1)
        return float(hdr_codec.bucket_highest_us(self._buckets[place : place + 1])[0])

    def buckets(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the highest duration (µs) and the count of each non-empty bucket, ascending."""
        return hdr_codec.bucket_highest_us(self._buckets).astype(np.float64), self._counts


def _sum_by_key(*parts: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Return the unique keys, ascending, and the sum of the counts of each."""
    keys = np.concatenate([keys for keys, _ in parts]) if parts else _EMPTY
    counts = np.concatenate([counts for _, counts in parts]) if parts else _EMPTY
    if not len(keys):
        return _EMPTY, _EMPTY
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[first], np.add.reduceat(counts, first)
