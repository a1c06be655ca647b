"""The whole run, second by second: what all processes report, put together.

Knows intervals, rows and scopes. Must not know Locust, nor how a report travels. For the master, or for the
only process.

A second is put together when every process has reported it, or when it has been waited for too long. Its
histograms are kept packed (a few KB each) for `between`; the scopes' own are added up as the seconds come.

A process that stands still reports all of that time at once, as one long second. So that the time is not
hidden, the others' seconds without it are marked, and there is a row, marked, of each second that nobody
reported.
"""

from collections import Counter
from collections.abc import Container, KeysView
from typing import Final

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import METRICS
from chat_swarm.model.schema import SILENT, Interval, MachineSample, Row, Scope, ServerSample

PATIENCE: Final = 5
"""Seconds that a process's report is waited for; later it counts in the scopes, but changes no row."""
KEPT: Final = 1800
"""Seconds whose histograms are kept, for steps of a load shape."""
LONG: Final = 1.5
"""Seconds from which on a process's report is of more than one."""
FILLED: Final = 3600
"""Seconds in a row, at most, that get rows without a report: more is a clock that was set."""
RATES: Final = ("sent", "delivered", "acknowledged", "sent_bytes", "received_bytes")

OF_MESSAGES: Final = ("ack", "ack_response", "delivery", "delivery_response")
"""Latencies that count as steady in the drain, too: those who waited longest were said in a steady second."""

RAMP, STEADY, DRAIN = "ramp", "steady", "drain"


class _Second:
    """A second that is being put together."""

    __slots__ = ("counts", "faults", "histograms", "parts")

    def __init__(self) -> None:
        self.parts: dict[int, Interval] = {}
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}


class Tally:
    """A scope as it grows."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.counts: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}

    def add(self, seconds: float, counts: dict[str, int], histograms: dict[str, Histogram]) -> None:
        """Add what some seconds yielded."""
        self.seconds += seconds
        self.counts.update(counts)
        merge(self.histograms, histograms)

    def scope(self) -> Scope:
        """Return its figures."""
        return Scope(
            seconds=round(self.seconds, 3),
            counts=dict(self.counts),
            rates={name: self.counts[name] / self.seconds if self.seconds else 0.0 for name in RATES},
            metrics={
                metric.name: self.histograms[metric.name].quantiles()
                for metric in METRICS
                if metric.name in self.histograms
            },
        )


class Collector:
    """All that is known of a run. Moments are seconds of the wall clock."""

    def __init__(self, began: float, processes: int) -> None:
        self.began: Final = int(began)
        self.rows: list[Row] = []
        self.tallies: Final = {"all": Tally(), "steady": Tally(), "clean": Tally()}
        self.marked: Counter[str] = Counter()
        self.peak_connected = 0
        self._processes = processes
        self._since: dict[int, int] = {}  # process → the first second that it reported
        self._open: dict[int, _Second] = {}
        self._packed: dict[int, dict[str, bytes]] = {}
        self._outside: dict[int, tuple[ServerSample | None, MachineSample | None]] = {}
        self._done = -1  # the last second that has become a row
        self._steady_from: int | None = None
        self._drain_from: int | None = None
        self._labels: list[tuple[int, str]] = []

    # What is reported.

    def add(self, interval: Interval, histograms: dict[str, Histogram]) -> None:
        """Take one second of one process."""
        self._since.setdefault(interval.process, interval.unix)
        if interval.unix <= self._done:
            self._late(interval, histograms)
            return
        second = self._open.setdefault(interval.unix, _Second())
        before = second.parts.get(interval.process)
        if before is not None:  # the last, short account falls into the same second
            interval.seconds += before.seconds
            interval.cpu = max(before.cpu, interval.cpu)
            interval.loop_lag_max_us = max(before.loop_lag_max_us, interval.loop_lag_max_us)
            interval.marked = before.marked or interval.marked
        second.parts[interval.process] = interval
        second.counts.update(interval.counts)
        second.faults.update(interval.faults)
        merge(second.histograms, histograms)
        self._settle()

    def add_packed(self, interval: Interval) -> None:
        """Take one second of a process whose histograms came with it."""
        self.add(interval, {name: Histogram.unpack(packed) for name, packed in interval.histograms.items()})

    def outside(self, unix: int, server: ServerSample | None, machine: MachineSample | None = None) -> None:
        """Take a look at the server and the machine, taken at the end of a second."""
        if unix > self._done:
            self._outside[unix] = server, machine
            return
        for row in reversed(self.rows):  # the second's row was put together first
            if row.unix <= unix:
                if row.unix == unix:
                    row.server, row.machine = server, machine
                return

    def all_up(self, unix: float) -> None:
        """Take note that all bots are there: the seconds that begin after this are steady."""
        if self._steady_from is None:
            self._steady_from = int(unix) + 1

    def stopping(self, unix: float) -> None:
        """Take note that nothing more is said: the second that this falls into is not steady any more."""
        if self._drain_from is None:
            self._drain_from = int(unix)

    def label(self, unix: float, text: str) -> None:
        """Name what the load shape does from now on."""
        self._labels.append((int(unix), text))

    def finish(self) -> None:
        """Put together what is there: no more will come."""
        self._settle(everything=True)

    # What is asked.

    @property
    def heard_of(self) -> KeysView[int]:
        """The processes that have reported anything."""
        return self._since.keys()

    def reported_to(self) -> int:
        """Return the last second of the wall clock that has become a row; -1 before the first."""
        return self._done

    def scopes(self) -> dict[str, Scope]:
        """Return the figures of all scopes."""
        return {name: tally.scope() for name, tally in self.tallies.items()}

    def between(self, since: int, until: int) -> Tally:
        """Return what the seconds since <= unix < until yielded, as far as they are kept."""
        tally = Tally()
        for row in self.rows:
            if since <= row.unix < until:
                packed = self._packed.get(row.unix, {})
                histograms = {name: Histogram.unpack(data) for name, data in packed.items()}
                tally.add(1.0, row.counts, histograms)
        return tally

    # Putting together.

    def _settle(self, *, everything: bool = False) -> None:
        newest = max(self._open, default=0)
        for unix in sorted(self._open):
            parts = self._open[unix].parts
            whole = len(parts) >= self._processes and not self._silent(unix, parts)
            if not (whole or everything or unix <= newest - PATIENCE):
                return
            self._close(unix, self._open.pop(unix))

    def _silent(self, unix: int, parts: Container[int]) -> bool:
        return any(since <= unix and process not in parts for process, since in self._since.items())

    def _close(self, unix: int, second: _Second) -> None:
        if self._done >= 0 and unix - self._done <= FILLED:
            for missing in range(self._done + 1, unix):
                self._put_down(missing, _Second())
                self.rows[-1].bots, self.rows[-1].connected = self.rows[-2].bots, self.rows[-2].connected
        self._put_down(unix, second)

    def _put_down(self, unix: int, second: _Second) -> None:
        parts = second.parts.values()
        phase = self._phase(unix)
        marked = next((part.marked for part in parts if part.marked), "")
        # In the drain a process that has told all is silent by right.
        if not marked and phase != DRAIN and self._silent(unix, second.parts):
            marked = SILENT
        server, machine = self._outside.pop(unix, (None, None))
        row = Row(
            t=unix - self.began,
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
        )
        self.rows.append(row)
        self._done = unix
        self._packed[unix] = {name: histogram.pack() for name, histogram in second.histograms.items()}
        self._packed.pop(unix - KEPT, None)
        self.peak_connected = max(self.peak_connected, row.connected)
        # What one process did in a long second is not to stretch that of those which kept time. A row that
        # nobody reported adds none: the long second holds its time already.
        took = [part.seconds for part in parts]
        seconds = max([one for one in took if one < LONG] or took, default=0.0)
        self.tallies["all"].add(seconds, row.counts, second.histograms)
        if row.phase == STEADY:
            self.tallies["steady"].add(seconds, row.counts, second.histograms)
            if marked:
                self.marked[marked] += 1
            else:
                self.tallies["clean"].add(seconds, row.counts, second.histograms)
        elif row.phase == DRAIN:
            self._drained(second.histograms, marked=bool(marked))

    def _late(self, interval: Interval, histograms: dict[str, Histogram]) -> None:
        row = next((row for row in reversed(self.rows) if row.unix == interval.unix), None)
        phase = self._phase(interval.unix) if row is None else row.phase
        marked = bool(interval.marked or (row is not None and row.marked))
        self.tallies["all"].add(0.0, interval.counts, histograms)
        if phase == STEADY:
            for name in ["steady"] if marked else ["steady", "clean"]:
                self.tallies[name].add(0.0, interval.counts, histograms)
        elif phase == DRAIN:
            self._drained(histograms, marked=marked)

    def _drained(self, histograms: dict[str, Histogram], *, marked: bool) -> None:
        """Add what came of steady seconds after their end; it changes no rate."""
        late = {name: histogram for name, histogram in histograms.items() if name in OF_MESSAGES}
        for name in ["steady"] if marked else ["steady", "clean"]:
            if self.tallies[name].seconds:
                self.tallies[name].add(0.0, {}, late)

    def _phase(self, unix: int) -> str:
        if self._drain_from is not None and unix >= self._drain_from:
            return DRAIN
        if self._steady_from is not None and unix >= self._steady_from:
            return STEADY
        return RAMP


def merge(into: dict[str, Histogram], more: dict[str, Histogram]) -> None:
    """Add histograms to those of the same metrics."""
    for name, histogram in more.items():
        into.setdefault(name, Histogram()).add(histogram)
