"""The `LiveSource` of a real run: answers the live page's queries from the coordinator and its collector."""

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
"""Points of a percentile curve: every 5 % up to 90 %, then five for each nine."""


class CoordinatorSource:
    """Implements `live_view.LiveSource` for the coordinator's current run."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self.run_directory: Path | None = None
        self._finished: list[Path] = []

    @property
    def run(self) -> str:
        """The current run's name; "" before the first run."""
        return self._coordinator.run

    @property
    def running(self) -> bool:
        """Whether the run is still going."""
        return self._coordinator.running

    @property
    def finished(self) -> Sequence[Path]:
        """The directories of finished runs, newest last."""
        return self._finished

    def add_finished(self, directory: Path) -> None:
        """Add the directory of a finished run whose files are written."""
        self._finished.append(directory)

    def rows(self, since: int) -> Sequence[TimelineRow]:
        """Return complete rows from `since` on: during a run the last row still lacks its server sample."""
        if self._coordinator.collector is None:
            return []
        rows = self._coordinator.collector.rows
        if self._coordinator.running:
            rows = rows[:-1]
        first = next((place for place, row in enumerate(rows) if row.t >= since), len(rows))
        return rows[first:]

    def scopes(self) -> Mapping[str, Scope]:
        """Return the figures so far, by scope."""
        return {} if self._coordinator.collector is None else self._coordinator.collector.scopes()

    def curve(self, metric: str) -> Sequence[tuple[float, int]]:
        """Return (percentile, µs) points of the steady seconds so far, or of all if there are none yet."""
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
        """Return the audit's fault counts so far."""
        found: dict[str, int] = {}
        for row in self._coordinator.collector.rows if self._coordinator.collector is not None else ():
            for name, count in row.faults.items():
                found[name] = found.get(name, 0) + count
        return found
