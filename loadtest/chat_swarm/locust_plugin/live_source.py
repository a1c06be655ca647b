"""The run as a page sees it while it goes on: what `live.Source` asks, from the control and its collector.

Knows both. Must not know HTTP, nor how anything is shown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from chat_swarm.model.schema import Scope, TimelineRow
from chat_swarm.runner.coordinator import Coordinator

_CURVE_PERCENTILES: Final = [
    *range(0, 90, 5),
    *(100 - 10.0**-power * step for power in range(-1, 4) for step in (1, 0.75, 0.5, 0.3, 0.2)),
    100.0,
]
"""Where a curve has its points: evenly at first, then five for each nine."""


class CoordinatorSource:
    """A `live.Source`."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self.run_directory: Path | None = None
        self._finished: list[Path] = []

    @property
    def run(self) -> str:
        """The run's name; empty before the first."""
        return self._coordinator.run

    @property
    def running(self) -> bool:
        """Whether rows still come."""
        return self._coordinator.running

    @property
    def finished(self) -> Sequence[Path]:
        """The directories of the runs that are over, the newest last."""
        return self._finished

    def add_finished(self, directory: Path) -> None:
        """Take note that a run is over and its files are written."""
        self._finished.append(directory)

    def rows(self, since: int) -> Sequence[TimelineRow]:
        """Return whole rows of `since` and later: the last one still waits for the sample of the server."""
        if self._coordinator.collector is None:
            return []
        rows = self._coordinator.collector.rows
        if self._coordinator.running:
            rows = rows[:-1]
        first = next((place for place, row in enumerate(rows) if row.t >= since), len(rows))
        return rows[first:]

    def scopes(self) -> Mapping[str, Scope]:
        """Return the figures so far."""
        return {} if self._coordinator.collector is None else self._coordinator.collector.scopes()

    def curve(self, metric: str) -> Sequence[tuple[float, int]]:
        """Return (percentile, µs) of the steady seconds so far, or of all if there are none yet."""
        if self._coordinator.collector is None:
            return []
        tallies = self._coordinator.collector.tallies
        tally = tallies["steady"] if tallies["steady"].seconds else tallies["all"]
        histogram = tally.histograms.get(metric)
        if histogram is None or not histogram.count:
            return []
        points = sorted(set(_CURVE_PERCENTILES))
        return list(zip(points, histogram.percentiles(points), strict=True))

    def faults(self) -> Mapping[str, int]:
        """Return what the audit has found so far."""
        found: dict[str, int] = {}
        for row in self._coordinator.collector.rows if self._coordinator.collector is not None else ():
            for name, count in row.faults.items():
                found[name] = found.get(name, 0) + count
        return found
