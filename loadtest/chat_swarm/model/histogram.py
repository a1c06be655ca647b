"""Latency histogram: HdrHistogram's buckets, filled by numpy.

Whole µs from 1 µs to 10 minutes, three significant digits (HdrHistogram, Gil Tene).

hdrh needs about 1 µs to record one value, and a swarm has tens of thousands a second. So numpy computes the
index of each value in HDR's array of counts here, in a hundredth of that time; hdrh does the encoding.
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
_PACKED_INTEGER: Final = np.dtype("<i8")  # byte order of `pack`: workers may run on other machines

Integers = npt.NDArray[np.int64]


def index_of(values: Integers) -> Integers:
    """Return the index of each value in the array of counts, as HdrHistogram computes it."""
    # The bucket is how often a value must be halved to fit the sub-buckets; frexp gives its bit length.
    bucket = np.frexp(np.maximum(values, _SUB_BUCKET_MASK).astype(np.float64))[1].astype(np.int64) - (
        _SUB_BUCKET_HALF_MAGNITUDE + 1
    )
    return ((bucket + 1) << _SUB_BUCKET_HALF_MAGNITUDE) + (values >> bucket) - _SUB_BUCKET_HALF_COUNT


class Histogram:
    """Counts of latencies in µs; values below 0 count as 0, values above ten minutes as ten minutes."""

    __slots__ = ("count", "counts", "largest", "smallest", "value_sum")

    def __init__(self) -> None:
        self.counts: Integers = np.zeros(_COUNTS_LENGTH, dtype=np.int64)
        self.count = 0
        self.value_sum = 0
        """The sum of all values."""
        self.smallest = HIGHEST_US
        self.largest = 0

    def record(self, values: Integers) -> None:
        """Count `values`, in µs."""
        if not len(values):
            return
        values = np.clip(values, 0, HIGHEST_US)
        self.counts += np.bincount(index_of(values), minlength=_COUNTS_LENGTH)
        self.count += len(values)
        self.value_sum += int(values.sum())
        self.smallest = min(self.smallest, int(values.min()))
        self.largest = max(self.largest, int(values.max()))

    def add(self, other: Self) -> None:
        """Add the counts of another histogram; exact."""
        self.counts += other.counts
        self.count += other.count
        self.value_sum += other.value_sum
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def pack(self) -> bytes:
        """Serialise for another process of the swarm: sum, minimum, maximum, used indices, their counts."""
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
        """Return the histogram that `pack` serialised; exact. Raises ValueError for any other bytes."""
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
        """Encode in HdrHistogram's own format (V2, compressed, base64), which every HDR library reads."""
        hdr = self.to_hdr()
        payload: bytes = hdr.encode()
        hdr.encoder = None  # a reference cycle of 250 KB, which would wait for the garbage collector
        return payload

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Decode the result of `encode`; extremes are as exact as their buckets. Raises ValueError."""
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
        """Return a copy as an hdrh histogram."""
        hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
        np.ctypeslib.as_array(hdr.counts)[:_COUNTS_LENGTH] = self.counts
        hdr.total_count = self.count
        if self.count:
            hdr.min_value, hdr.max_value = self.smallest, self.largest
        return hdr

    def percentile(self, percent: float) -> int:
        """Return the value (µs) that `percent` of all values do not exceed; 0 if the histogram is empty."""
        return self.percentiles([percent])[0]

    def percentiles(self, percents: list[float]) -> list[int]:
        """Return the percentile of each of `percents`, in µs."""
        if not self.count:
            return [0] * len(percents)
        # As HdrHistogram does: the highest value of the first bucket in which that share is reached.
        wanted = np.maximum(np.ceil(np.array(percents) / 100 * self.count - 1e-9), 1)
        places = np.searchsorted(np.cumsum(self.counts), wanted)
        return [min(int(value), self.largest) for value in _bucket_tops()[places]]

    def quantiles(self) -> Quantiles:
        """Return count, mean, minimum, maximum and the percentiles that reports show."""
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
        """Return (middle in µs, count) of every bucket that is not empty, ascending."""
        places = np.flatnonzero(self.counts)
        return list(zip(_bucket_middles()[places].tolist(), self.counts[places].tolist(), strict=True))


def _bucket_edges() -> tuple[Integers, Integers]:
    """Return the lowest value of each index of the array of counts, and the number of values in it."""
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
