"""Merges the per-second reports of all bot processes into rows and scopes.

Runs in the master, or in the only process of a local run.

A second is closed when every process has reported it, or after `REPORT_WAIT_S`. Its histograms are kept
packed (a few KB each) for `tally_between`; those of the scopes are added up as seconds are closed.

A process that was stopped or starved reports all of that time at once, as one long second. To keep this
visible, seconds that it did not report are marked, and a second that no process reported gets a marked row.
"""

from collections import Counter
from collections.abc import Container, KeysView
from functools import reduce
from typing import Final

from chat_swarm.model.bottleneck import SILENT_PROCESS_REASON
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import METRICS
from chat_swarm.model.schema import (
    MachineSample,
    ProcessSecond,
    Scope,
    ServerSample,
    SlowDelivery,
    TimelineRow,
)

REPORT_WAIT_S: Final = 5
"""How long a second waits for missing reports. A later report counts in the scopes, but changes no row."""
PACKED_HISTOGRAMS_KEPT_S: Final = 1800
"""How long the packed histograms of a second are kept, for steps of a load shape."""
LONG_REPORT_S: Final = 1.5
"""A report of at least this length covers more than one second."""
MAX_FILLED_GAP_S: Final = 3600
"""Longest gap that is filled with rows without reports; a longer one means that the clock was set."""
RATE_COUNTS: Final = ("sent", "delivered", "acknowledged", "sent_bytes", "received_bytes")

MESSAGE_LATENCIES: Final = ("ack", "ack_response", "delivery", "delivery_response")
"""Latencies that also count as steady during the drain: the slowest messages of the last steady seconds
arrive then, and the maximum would miss them."""

RAMP, STEADY, DRAIN = "ramp", "steady", "drain"


class _Second:
    """A second that still waits for reports."""

    __slots__ = ("counts", "faults", "histograms", "parts")

    def __init__(self) -> None:
        self.parts: dict[int, ProcessSecond] = {}
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}


class ScopeTally:
    """Counts and histograms of a scope, added up second by second."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.counts: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}

    def add(self, seconds: float, counts: dict[str, int], histograms: dict[str, Histogram]) -> None:
        """Add `seconds` of the run with their counts and histograms."""
        self.seconds += seconds
        self.counts.update(counts)
        merge_histograms(self.histograms, histograms)

    def to_scope(self) -> Scope:
        """Return the counts, rates per second and quantiles so far."""
        return Scope(
            seconds=round(self.seconds, 3),
            counts=dict(self.counts),
            rates={name: self.counts[name] / self.seconds if self.seconds else 0.0 for name in RATE_COUNTS},
            metrics={
                metric.name: self.histograms[metric.name].quantiles()
                for metric in METRICS
                if metric.name in self.histograms
            },
        )


def _slower(one: SlowDelivery | None, other: SlowDelivery | None) -> SlowDelivery | None:
    if one is None or (other is not None and other.us > one.us):
        return other
    return one


class Collector:
    """All measurements of a run. Arguments named `unix` are wall-clock seconds since the epoch."""

    def __init__(self, began_unix: float, processes: int) -> None:
        self.began_unix: Final = int(began_unix)
        self.rows: list[TimelineRow] = []
        self.tallies: Final = {"all": ScopeTally(), "steady": ScopeTally(), "clean": ScopeTally()}
        self.marked: Counter[str] = Counter()
        self.peak_connected = 0
        self._processes = processes
        self._first_unix: dict[int, int] = {}  # process → the first second that it reported
        self._open_seconds: dict[int, _Second] = {}
        self._packed_histograms: dict[int, dict[str, bytes]] = {}
        self._samples: dict[int, tuple[ServerSample | None, MachineSample | None]] = {}
        self._last_unix = -1  # the last second that has become a row
        self._steady_from: int | None = None
        self._drain_from: int | None = None
        self._labels: list[tuple[int, str]] = []

    # Input.

    def add_report(self, report: ProcessSecond, histograms: dict[str, Histogram]) -> None:
        """Add one second of one process."""
        self._first_unix.setdefault(report.process, report.unix)
        if report.unix <= self._last_unix:
            self._add_late(report, histograms)
            return
        second = self._open_seconds.setdefault(report.unix, _Second())
        before = second.parts.get(report.process)
        if before is not None:  # the final, short report falls into the same second
            report.seconds += before.seconds
            report.cpu = max(before.cpu, report.cpu)
            report.loop_lag_max_us = max(before.loop_lag_max_us, report.loop_lag_max_us)
            report.marked = before.marked or report.marked
            report.slowest = _slower(before.slowest, report.slowest)
            if before.silence_us is not None:
                report.silence_us = max(before.silence_us, report.silence_us or 0)
        second.parts[report.process] = report
        second.counts.update(report.counts)
        second.faults.update(report.faults)
        merge_histograms(second.histograms, histograms)
        self._close_ready_seconds()

    def add_packed_report(self, report: ProcessSecond) -> None:
        """Add one second of another process, whose histograms come packed inside the report."""
        self.add_report(
            report, {name: Histogram.unpack(packed) for name, packed in report.histograms.items()}
        )

    def add_samples(
        self, unix: int, server: ServerSample | None, machine: MachineSample | None = None
    ) -> None:
        """Add the samples of server and machine that were taken at the end of the second `unix`."""
        if unix > self._last_unix:
            self._samples[unix] = server, machine
            return
        for row in reversed(self.rows):  # the second was closed before its samples came
            if row.unix <= unix:
                if row.unix == unix:
                    row.server, row.machine = server, machine
                return

    def mark_steady(self, unix: float) -> None:
        """Record that all bots are connected: seconds that begin after this are steady."""
        if self._steady_from is None:
            self._steady_from = int(unix) + 1

    def mark_drain(self, unix: float) -> None:
        """Record that sending has stopped: the second that contains `unix` begins the drain."""
        if self._drain_from is None:
            self._drain_from = int(unix)

    def add_label(self, unix: float, text: str) -> None:
        """Set the load shape's step name for rows from `unix` on."""
        self._labels.append((int(unix), text))

    def finish(self) -> None:
        """Close all open seconds: no more reports will come."""
        self._close_ready_seconds(everything=True)

    # Queries.

    @property
    def reporting_processes(self) -> KeysView[int]:
        """The processes that have reported at least once."""
        return self._first_unix.keys()

    def last_row_unix(self) -> int:
        """Return the last second (unix) that has become a row; -1 before the first."""
        return self._last_unix

    def scopes(self) -> dict[str, Scope]:
        """Return the figures of all scopes."""
        return {name: tally.to_scope() for name, tally in self.tallies.items()}

    def tally_between(self, since: int, until: int) -> ScopeTally:
        """Return the sum of the seconds since <= unix < until; their histograms only while these are kept."""
        tally = ScopeTally()
        for row in self.rows:
            if since <= row.unix < until:
                packed = self._packed_histograms.get(row.unix, {})
                histograms = {name: Histogram.unpack(data) for name, data in packed.items()}
                tally.add(1.0, row.counts, histograms)
        return tally

    # Closing seconds.

    def _close_ready_seconds(self, *, everything: bool = False) -> None:
        newest = max(self._open_seconds, default=0)
        for unix in sorted(self._open_seconds):
            parts = self._open_seconds[unix].parts
            whole = len(parts) >= self._processes and not self._is_silent(unix, parts)
            if not (whole or everything or unix <= newest - REPORT_WAIT_S):
                return
            self._close_second(unix, self._open_seconds.pop(unix))

    def _is_silent(self, unix: int, parts: Container[int]) -> bool:
        return any(since <= unix and process not in parts for process, since in self._first_unix.items())

    def _close_second(self, unix: int, second: _Second) -> None:
        if self._last_unix >= 0 and unix - self._last_unix <= MAX_FILLED_GAP_S:
            for missing in range(self._last_unix + 1, unix):
                self._append_row(missing, _Second())
                self.rows[-1].bots, self.rows[-1].connected = self.rows[-2].bots, self.rows[-2].connected
        self._append_row(unix, second)

    def _append_row(self, unix: int, second: _Second) -> None:
        parts = second.parts.values()
        phase = self._phase(unix)
        marked = next((part.marked for part in parts if part.marked), "")
        # During the drain, a process that has sent its final report is expected to be silent.
        if not marked and phase != DRAIN and self._is_silent(unix, second.parts):
            marked = SILENT_PROCESS_REASON
        server, machine = self._samples.pop(unix, (None, None))
        row = TimelineRow(
            t=unix - self.began_unix,
            unix=unix,
            phase=phase,
            step=next((text for since, text in reversed(self._labels) if since <= unix), ""),
            bots=sum(part.bots for part in parts),
            connected=sum(part.connected for part in parts),
            counts=dict(second.counts),
            faults={name: count for name, count in second.faults.items() if count},
            metrics={name: histogram.quantiles() for name, histogram in second.histograms.items()},
            loop_lag_max_us=max((part.loop_lag_max_us for part in parts), default=0),
            cpu=max((part.cpu for part in parts), default=0.0),
            marked=marked,
            server=server,
            machine=machine,
            slowest=reduce(_slower, (part.slowest for part in parts), None),
            standstill_us=min((part.silence_us for part in parts if part.silence_us is not None), default=0),
        )
        self.rows.append(row)
        self._last_unix = unix
        self._packed_histograms[unix] = {
            name: histogram.pack() for name, histogram in second.histograms.items()
        }
        self._packed_histograms.pop(unix - PACKED_HISTOGRAMS_KEPT_S, None)
        self.peak_connected = max(self.peak_connected, row.connected)
        # A long report of one process must not stretch the second of the others. A row without any report
        # adds no time: the long report contains it already.
        took = [part.seconds for part in parts]
        seconds = max([one for one in took if one < LONG_REPORT_S] or took, default=0.0)
        self.tallies["all"].add(seconds, row.counts, second.histograms)
        if row.phase == STEADY:
            self.tallies["steady"].add(seconds, row.counts, second.histograms)
            if marked:
                self.marked[marked] += 1
            else:
                self.tallies["clean"].add(seconds, row.counts, second.histograms)
        elif row.phase == DRAIN:
            self._add_drained(second.histograms, marked=bool(marked))

    def _add_late(self, report: ProcessSecond, histograms: dict[str, Histogram]) -> None:
        row = next((row for row in reversed(self.rows) if row.unix == report.unix), None)
        phase = self._phase(report.unix) if row is None else row.phase
        marked = bool(report.marked or (row is not None and row.marked))
        self.tallies["all"].add(0.0, report.counts, histograms)
        if phase == STEADY:
            for name in ["steady"] if marked else ["steady", "clean"]:
                self.tallies[name].add(0.0, report.counts, histograms)
        elif phase == DRAIN:
            self._add_drained(histograms, marked=marked)

    def _add_drained(self, histograms: dict[str, Histogram], *, marked: bool) -> None:
        """Add the drain's message latencies to the steady scopes, without time: rates do not change."""
        late = {name: histogram for name, histogram in histograms.items() if name in MESSAGE_LATENCIES}
        for name in ["steady"] if marked else ["steady", "clean"]:
            if self.tallies[name].seconds:
                self.tallies[name].add(0.0, {}, late)

    def _phase(self, unix: int) -> str:
        if self._drain_from is not None and unix >= self._drain_from:
            return DRAIN
        if self._steady_from is not None and unix >= self._steady_from:
            return STEADY
        return RAMP


def merge_histograms(into: dict[str, Histogram], more: dict[str, Histogram]) -> None:
    """Add the histograms of `more` to those of the same metrics in `into`."""
    for name, histogram in more.items():
        into.setdefault(name, Histogram()).add(histogram)
