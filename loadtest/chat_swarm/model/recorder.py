"""The samples of one process, gathered without a function call for each, folded once a second.

Knows metrics and counts by name. Must not know bots, nor who reads the result.

The hot path appends the nanoseconds that it has anyway to flat arrays; the subtraction and the histogram are
numpy's, once a second for all.
"""

from array import array
from typing import Final

import numpy as np

from chat_swarm.model.histogram import Histogram, Integers
from chat_swarm.model.metric_names import COUNTS, METRIC

_NS: Final = 1000  # in a µs
_EARLY: Final = 1_000_000  # ns by which two readings of one machine's clock never differ


class Recorder:
    """What happened since `take` was called last.

    `received`, `seen`, `sent`, `planned` hold one value in ns for each timed delivery and are appended to
    together; `ack_…` likewise for acknowledgements.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.early = 0
        """Deliveries that seem to be received before they were sent: the clocks of two machines differ."""
        self.unstamped = 0
        """Reads that the kernel did not stamp, in all."""
        self._start()

    def _start(self) -> None:
        self.received: array[int] = array("q")
        self.seen: array[int] = array("q")
        self.sent: array[int] = array("q")
        self.planned: array[int] = array("q")
        self.ack_received: array[int] = array("q")
        self.ack_sent: array[int] = array("q")
        self.ack_planned: array[int] = array("q")
        self._sparse: dict[str, array[int]] = {}

    def add(self, metric: str, nanoseconds: int) -> None:
        """Count one latency of a metric that has few of them."""
        samples = self._sparse.get(metric)
        if samples is None:
            assert metric in METRIC, metric
            samples = self._sparse[metric] = array("q")
        samples.append(nanoseconds)

    def lag(self, nanoseconds: int, tick: int) -> None:
        """Count how late a timer that is due every `tick` ns ran, and the ticks that it missed by that.

        Else a loop that stood still for a second would show one late tick among forty-nine good ones.
        """
        while nanoseconds > 0:
            self.add("loop_lag", nanoseconds)
            nanoseconds -= tick

    def take(self) -> tuple[dict[str, int], dict[str, Histogram]]:
        """Return what was counted, and the latencies in µs by metric, and begin anew."""
        counts = {name: count for name, count in self.counts.items() if count}
        self.counts = dict.fromkeys(COUNTS, 0)
        found: dict[str, Integers] = {name: _values(samples) for name, samples in self._sparse.items()}
        if self.received:
            received, sent = _values(self.received), _values(self.sent)
            found["delivery"] = received - sent
            self.early += int(np.count_nonzero(found["delivery"] < -_EARLY))
            _join(found, "delivery_response", received - _values(self.planned))
            _join(found, "bot_lag", _values(self.seen) - received)
        if self.ack_received:
            received = _values(self.ack_received)
            found["ack"] = received - _values(self.ack_sent)
            _join(found, "ack_response", received - _values(self.ack_planned))
        self._start()
        histograms: dict[str, Histogram] = {}
        for name, values in found.items():
            histogram = histograms[name] = Histogram()
            histogram.record(values // _NS)
        return counts, histograms


def _values(samples: "array[int]") -> Integers:
    return np.frombuffer(samples, dtype=np.int64)


def _join(found: dict[str, Integers], name: str, values: Integers) -> None:
    found[name] = np.concatenate((found[name], values)) if name in found else values
