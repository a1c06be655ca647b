"""A latency histogram that takes samples by the thousand.

Knows HDR histograms (Gil Tene's): whole µs from 1 µs to 10 minutes, three significant digits. Must not know
what is measured.

hdrh records one value in about a microsecond. A swarm has tens of thousands a second, so the place of each
value in HDR's array of counts is computed here by numpy, in a hundredth of that; the encoding is hdrh's.
"""

from typing import Final, Self

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from chat_swarm.model.schema import Quantiles

LOWEST_US: Final = 1
HIGHEST_US: Final = 600_000_000
SIGNIFICANT_DIGITS: Final = 3

_LAYOUT: Final = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
_COUNTS_LENGTH: Final = int(_LAYOUT.counts_len)
_SUB_BUCKET_HALF_MAGNITUDE: Final = int(_LAYOUT.sub_bucket_half_count_magnitude)
_SUB_BUCKET_HALF_COUNT: Final = int(_LAYOUT.sub_bucket_half_count)
_SUB_BUCKET_MASK: Final = int(_LAYOUT.sub_bucket_mask)
_PACKED_INTEGER: Final = np.dtype("<i8")  # of what is packed: workers may run on other machines

Integers = npt.NDArray[np.int64]


def index_of(values: Integers) -> Integers:
    """Return where in the array of counts each value belongs, as HdrHistogram places it."""
    # The bucket is how often a value must be halved to fit the sub-buckets; frexp gives the length in bits.
    bucket = np.frexp(np.maximum(values, _SUB_BUCKET_MASK).astype(np.float64))[1].astype(np.int64) - (
        _SUB_BUCKET_HALF_MAGNITUDE + 1
    )
    return ((bucket + 1) << _SUB_BUCKET_HALF_MAGNITUDE) + (values >> bucket) - _SUB_BUCKET_HALF_COUNT


class Histogram:
    """Counts of latencies in µs; what is below 0 counts as 0, what is over ten minutes as ten minutes."""

    __slots__ = ("count", "counts", "largest", "smallest", "value_sum")

    def __init__(self) -> None:
        self.counts: Integers = np.zeros(_COUNTS_LENGTH, dtype=np.int64)
        self.count = 0
        self.value_sum = 0
        """The sum of all values."""
        self.smallest = HIGHEST_US
        self.largest = 0

    def record(self, values: Integers) -> None:
        """Count values, in µs."""
        if not len(values):
            return
        values = np.clip(values, 0, HIGHEST_US)
        self.counts += np.bincount(index_of(values), minlength=_COUNTS_LENGTH)
        self.count += len(values)
        self.value_sum += int(values.sum())
        self.smallest = min(self.smallest, int(values.min()))
        self.largest = max(self.largest, int(values.max()))

    def add(self, other: Self) -> None:
        """Count all that the other has counted; nothing is lost by it."""
        self.counts += other.counts
        self.count += other.count
        self.value_sum += other.value_sum
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def pack(self) -> bytes:
        """Return it for another process of the swarm: sum, extremes, the places that count, their counts."""
        places = np.flatnonzero(self.counts)
        head = np.array([self.value_sum, self.smallest, self.largest], dtype=_PACKED_INTEGER)
        return b"".join(
            (
                head.tobytes(),
                places.astype(_PACKED_INTEGER).tobytes(),
                self.counts[places].astype(_PACKED_INTEGER).tobytes(),
            )
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Return what was packed, nothing lost; ValueError for anything else."""
        self = cls()
        words = np.frombuffer(payload, dtype=_PACKED_INTEGER)
        half, odd = divmod(len(words) - 3, 2)
        places, counts = words[3 : 3 + half], words[3 + half :]
        if odd or half < 0 or (half and not 0 <= places.min() <= places.max() < _COUNTS_LENGTH):
            raise ValueError(f"not a packed histogram: {len(payload)} bytes")
        self.counts[places] = counts
        self.count = int(counts.sum())
        self.value_sum, self.smallest, self.largest = (int(word) for word in words[:3])
        return self

    def encode(self) -> bytes:
        """Return it in HDR's own format (V2, compressed, base64), which any HDR library reads."""
        hdr = self.to_hdr()
        payload: bytes = hdr.encode()
        hdr.encoder = (
            None  # it and the histogram name each other: a quarter of a MB would wait for the collector
        )
        return payload

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Return what `encode` gave, the extremes as exact as their buckets; ValueError for anything else."""
        try:
            hdr = HdrHistogram.decode(payload)
        except Exception as error:  # hdrh raises its own, zlib's and struct's errors
            raise ValueError(f"not an encoded histogram: {error}") from error
        self = cls()
        counts = np.ctypeslib.as_array(hdr.counts).astype(np.int64)[:_COUNTS_LENGTH]
        self.counts[: len(counts)] = counts
        self.count = int(counts.sum())
        if self.count:
            self.smallest = int(hdr.get_min_value())
            self.largest = int(hdr.get_max_value())
            places = np.flatnonzero(self.counts)
            self.value_sum = int((_bucket_middles()[places] * self.counts[places]).sum())
        hdr.encoder = None
        return self

    def to_hdr(self) -> HdrHistogram:
        """Return it as hdrh's histogram."""
        hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
        np.ctypeslib.as_array(hdr.counts)[:_COUNTS_LENGTH] = self.counts
        hdr.total_count = self.count
        if self.count:
            hdr.min_value, hdr.max_value = self.smallest, self.largest
        return hdr

    def percentile(self, percent: float) -> int:
        """Return the value that `percent` of all do not exceed, µs; 0 if nothing was counted."""
        return self.percentiles([percent])[0]

    def percentiles(self, percents: list[float]) -> list[int]:
        """Return `percentile` of each."""
        if not self.count:
            return [0] * len(percents)
        # As HdrHistogram: the first bucket in which that share of all is reached, and its highest value.
        wanted = np.maximum(np.ceil(np.array(percents) / 100 * self.count - 1e-9), 1)
        places = np.searchsorted(np.cumsum(self.counts), wanted)
        return [min(int(value), self.largest) for value in _bucket_tops()[places]]

    def quantiles(self) -> Quantiles:
        """Return the usual ones."""
        if not self.count:
            return Quantiles()
        p50, p90, p99, p999, p9999 = self.percentiles([50, 90, 99, 99.9, 99.99])
        return Quantiles(
            count=self.count,
            mean=self.value_sum / self.count,
            min=self.smallest,
            p50=p50,
            p90=p90,
            p99=p99,
            p999=p999,
            p9999=p9999,
            max=self.largest,
        )

    def buckets(self) -> list[tuple[int, int]]:
        """Return (µs, how many) of every bucket that is not empty, ascending."""
        places = np.flatnonzero(self.counts)
        return list(zip(_bucket_middles()[places].tolist(), self.counts[places].tolist(), strict=True))


def _bucket_edges() -> tuple[Integers, Integers]:
    """Return the lowest value of each place in the array of counts, and how many values share it."""
    places = np.arange(_COUNTS_LENGTH, dtype=np.int64)
    bucket = (places >> _SUB_BUCKET_HALF_MAGNITUDE) - 1
    sub = (places & (_SUB_BUCKET_HALF_COUNT - 1)) + _SUB_BUCKET_HALF_COUNT
    low = np.where(bucket < 0, sub - _SUB_BUCKET_HALF_COUNT, sub << np.maximum(bucket, 0))
    return low, np.int64(1) << np.maximum(bucket, 0)


_BUCKET_LOW, _BUCKET_WIDTH = _bucket_edges()


def _bucket_tops() -> Integers:
    return _BUCKET_LOW + _BUCKET_WIDTH - 1


def _bucket_middles() -> Integers:
    return _BUCKET_LOW + (_BUCKET_WIDTH >> 1)
