"""Counts and latency samples of one process, turned into histograms once a second.

The hot path calls no function for a sample: it appends timestamps that it already has to flat arrays. numpy
subtracts them and fills the histograms, once a second for all samples.
"""

from array import array
from typing import Final

import numpy as np

from chat_swarm.model.histogram import Histogram, Integers
from chat_swarm.model.metric_names import COUNTS, METRIC_BY_NAME
from chat_swarm.model.schema import SlowDelivery

_NS_PER_US: Final = 1000
_SILENCE_MESSAGES: Final = 3
"""Messages that must have been sent in a silence, and have arrived after it, for it to be one: when little is
said, nothing arrives for long."""
_CLOCK_TOLERANCE_NS: Final = 1_000_000  # two readings of one machine's clock never differ by more


class Recorder:
    """Counts and samples since the last `flush`.

    `received_ns`, `seen_ns`, `sent_ns`, `planned_ns` hold one value for each timed delivery: callers MUST
    append to all four together. `ack_…` likewise for acknowledgements.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.early_deliveries = 0
        """Deliveries with a receive time before their send time: the clocks of two machines differ."""
        self.unstamped_reads = 0
        """Reads without a kernel timestamp, since the start of the run."""
        self.slowest: SlowDelivery | None = None
        """The slowest timed delivery until the last `flush`."""
        self.silence_us: int | None = None
        """See `ProcessSecond.silence_us`; until the last `flush`."""
        self._last_received_ns = 0
        self._slowest: tuple[str, str, int] = ("", "", 0)
        self._reset_samples()

    def _reset_samples(self) -> None:
        self.received_ns: array[int] = array("q")
        self.seen_ns: array[int] = array("q")
        self.sent_ns: array[int] = array("q")
        self.planned_ns: array[int] = array("q")
        self.ack_received_ns: array[int] = array("q")
        self.ack_sent_ns: array[int] = array("q")
        self.ack_planned_ns: array[int] = array("q")
        self._sparse: dict[str, array[int]] = {}
        self.slowest_ns = 0
        """Latency of the slowest timed delivery; callers MUST call `note_slowest` for a slower one."""

    def add_sample(self, metric: str, nanoseconds: int) -> None:
        """Add one latency of a metric with few samples."""
        samples = self._sparse.get(metric)
        if samples is None:
            assert metric in METRIC_BY_NAME, metric
            samples = self._sparse[metric] = array("q")
        samples.append(nanoseconds)

    def note_slowest(self, nanoseconds: int, bot: str, room: str, seq: int) -> None:
        """Record which timed delivery is the slowest so far."""
        self.slowest_ns = nanoseconds
        self._slowest = (bot, room, seq)

    def add_loop_lag(self, nanoseconds: int, period_ns: int) -> None:
        """Add the delay of a timer that is due every `period_ns`, and of each period that it missed.

        Otherwise a loop that was blocked for a second would show one late timer among forty-nine punctual
        ones.
        """
        while nanoseconds > 0:
            self.add_sample("loop_lag", nanoseconds)
            nanoseconds -= period_ns

    def flush(self) -> tuple[dict[str, int], dict[str, Histogram]]:
        """Return counts and latency histograms (µs) by name since the last call, and reset both."""
        counts = {name: count for name, count in self.counts.items() if count}
        self.counts = dict.fromkeys(COUNTS, 0)
        found: dict[str, Integers] = {name: _as_int64(samples) for name, samples in self._sparse.items()}
        self.slowest = self.silence_us = None
        if self.received_ns:
            received, sent = _as_int64(self.received_ns), _as_int64(self.sent_ns)
            bot, room, seq = self._slowest
            self.slowest = SlowDelivery(us=self.slowest_ns // _NS_PER_US, bot=bot, room=room, seq=seq)
            self.silence_us = self._longest_silence(received, sent) // _NS_PER_US
            found["delivery"] = received - sent
            self.early_deliveries += int(np.count_nonzero(found["delivery"] < -_CLOCK_TOLERANCE_NS))
            _append_values(found, "delivery_response", received - _as_int64(self.planned_ns))
            _append_values(found, "bot_lag", _as_int64(self.seen_ns) - received)
        if self.ack_received_ns:
            received = _as_int64(self.ack_received_ns)
            found["ack"] = received - _as_int64(self.ack_sent_ns)
            _append_values(found, "ack_response", received - _as_int64(self.ack_planned_ns))
        self._reset_samples()
        histograms: dict[str, Histogram] = {}
        for name, values in found.items():
            histogram = histograms[name] = Histogram()
            histogram.record(values // _NS_PER_US)
        return counts, histograms

    def _longest_silence(self, received: Integers, sent: Integers) -> int:
        """Return the ns of the longest time without an arrival in which several messages were under way."""
        # Reads are almost in the order of arrival, and what came late in it must not end a silence twice.
        latest = np.maximum.accumulate(np.concatenate(([self._last_received_ns or received[0]], received)))
        self._last_received_ns = int(latest[-1])
        ends = int(np.argmax(received - latest[:-1]))
        begin, end = latest[ends], received[ends]
        waited = np.unique(sent[(sent > begin) & (sent < end)])
        return int(end - begin) if len(waited) >= _SILENCE_MESSAGES else 0


def _as_int64(samples: "array[int]") -> Integers:
    return np.frombuffer(samples, dtype=np.int64)


def _append_values(found: dict[str, Integers], name: str, values: Integers) -> None:
    found[name] = np.concatenate((found[name], values)) if name in found else values
