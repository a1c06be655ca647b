"""The samples of one process, gathered without a function call for each, folded once a second.

Knows metrics and counts by name. Must not know bots, nor who reads the result.

The hot path appends the nanoseconds that it has anyway to flat arrays; the subtraction and the histogram are
numpy's, once a second for all.
"""

from array import array
from typing import Final

import numpy as np

from chat_swarm.model.histogram import Histogram, Integers
from chat_swarm.model.metric_names import COUNTS, METRIC_BY_NAME

_NS_PER_US: Final = 1000  # in a µs
_CLOCK_TOLERANCE_NS: Final = 1_000_000  # ns by which two readings of one machine's clock never differ


class Recorder:
    """What happened since `take` was called last.

    `received`, `seen`, `sent`, `planned` hold one value in ns for each timed delivery and are appended to
    together; `ack_…` likewise for acknowledgements.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.early_deliveries = 0
        """Deliveries that seem to be received before they were sent: the clocks of two machines differ."""
        self.unstamped_reads = 0
        """Reads that the kernel did not stamp, in all."""
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

    def add_sample(self, metric: str, nanoseconds: int) -> None:
        """Count one latency of a metric that has few of them."""
        samples = self._sparse.get(metric)
        if samples is None:
            assert metric in METRIC_BY_NAME, metric
            samples = self._sparse[metric] = array("q")
        samples.append(nanoseconds)

    def add_loop_lag(self, nanoseconds: int, period_ns: int) -> None:
        """Count how late a timer that is due every `tick` ns ran, and the ticks that it missed by that.

        Else a loop that stood still for a second would show one late tick among forty-nine good ones.
        """
        while nanoseconds > 0:
            self.add_sample("loop_lag", nanoseconds)
            nanoseconds -= period_ns

    def flush(self) -> tuple[dict[str, int], dict[str, Histogram]]:
        """Return what was counted, and the latencies in µs by metric, and begin anew."""
        counts = {name: count for name, count in self.counts.items() if count}
        self.counts = dict.fromkeys(COUNTS, 0)
        found: dict[str, Integers] = {name: _as_int64(samples) for name, samples in self._sparse.items()}
        if self.received_ns:
            received, sent = _as_int64(self.received_ns), _as_int64(self.sent_ns)
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


def _as_int64(samples: "array[int]") -> Integers:
    return np.frombuffer(samples, dtype=np.int64)


def _append_values(found: dict[str, Integers], name: str, values: Integers) -> None:
    found[name] = np.concatenate((found[name], values)) if name in found else values
