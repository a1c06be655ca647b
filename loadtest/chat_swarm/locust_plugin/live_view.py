"""Data of the live page, as JSON values: new rows, latency table, audit, generator, percentile curves."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from chat_swarm.model.metric_names import FAULTS, METRICS
from chat_swarm.model.schema import Scope, TimelineRow
from chat_swarm.report.series_styles import CURVES, LINES, MARKED_OPACITY

MAX_ROWS: Final = 3600
"""Rows per response: an hour is about 400 KB; a page that lacks more asks again at once."""

STYLES: Final = {"curves": CURVES, "lines": LINES, "marked_opacity": MARKED_OPACITY}
"""Legends and colours of the page, which are the report's."""

FIGURES_MAX_AGE_S: Final = 0.9
"""Figures are cached for this long, however many pages poll."""

_TIMELINE_METRICS: Final = ("delivery", "bot_lag")
"""The metrics of the timeline."""

TIMELINE_COLUMNS: Final = (
    *("t", "phase", "step", "bots", "connected", "sent", "delivered"),
    *(f"{name}_{quantile}" for name in _TIMELINE_METRICS for quantile in ("p50", "p99", "p999", "max")),
    *("loop_lag_max", "cpu", "server_cpu", "server_rss", "marked"),
)
"""The values of a timeline row, in this order; latencies in µs, rates per second."""


class LiveSource(Protocol):
    """Where the live page's data comes from. No method may block."""

    @property
    def run(self) -> str:
        """The current run's name; a new name means that rows start again. "" before the first run."""

    @property
    def running(self) -> bool:
        """Whether the run is still going."""

    @property
    def run_directory(self) -> Path | None:
        """Where the run's files are, or will be."""

    @property
    def finished(self) -> Sequence[Path]:
        """The directories of this process's finished runs, newest last; it only grows."""

    def rows(self, since: int) -> Sequence[TimelineRow]:
        """Return the rows from `since` on; a row that was returned once MUST NOT change any more."""

    def scopes(self) -> Mapping[str, Scope]:
        """Return the figures so far, by scope."""

    def curve(self, metric: str) -> Sequence[tuple[float, int]]:
        """Return (percentile 0 to 100, µs) points of the headline scope so far, ascending."""

    def faults(self) -> Mapping[str, int]:
        """Return the audit's fault counts so far, by the names of `metric_names.FAULTS`."""


class LiveView:
    """Answers the live page's requests from a source; `clock` is monotonic, in seconds."""

    def __init__(self, source: LiveSource, clock: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._clock = clock
        self._figures: dict[str, Any] = {}
        self._stale_at = -1.0
        self._run = source.run
        self._last: TimelineRow | None = None
        self._marked = 0

    def data(self, run: str, since: int) -> dict[str, Any]:
        """Return the rows from `since` on, or all if `run` is not the current run; and the figures."""
        source = self.source
        begin = max(0, since) if run == source.run else 0
        rows = source.rows(begin)
        sent = rows[:MAX_ROWS]
        directory = source.run_directory
        return {
            "run": source.run,
            "directory": str(directory) if directory else "",
            "running": source.running,
            "begin": begin,
            "next": sent[-1].t + 1 if sent else begin,
            "more": len(rows) > len(sent),
            "columns": TIMELINE_COLUMNS,
            "styles": STYLES,
            "rows": [_row(row) for row in sent],
            "reports": self.reports(),
            **self.figures(),
        }

    def figures(self) -> dict[str, Any]:
        """Return table, audit, generator and curves, at most `FIGURES_MAX_AGE_S` seconds old."""
        now = self._clock()
        if self._figures and now < self._stale_at and self._run == self.source.run:
            return self._figures
        self._count_marked()
        scopes, faults = self.source.scopes(), self.source.faults()
        steady = scopes.get("steady")
        name = "steady" if steady is not None and steady.seconds else "all"
        scope = scopes.get(name) or Scope()
        self._figures = {
            "scope": name,
            "seconds": scope.seconds,
            "table": _table(scope),
            "audit": _audit(faults),
            "faults": sum(faults.values()),
            "generator": _generator(self._last, self._marked),
            "marked": self._marked,
            "curves": {metric: self.source.curve(metric) for metric in CURVES},
        }
        self._stale_at = now + FIGURES_MAX_AGE_S
        return self._figures

    def tab_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the tab in Locust's own page, which can show nothing but one table."""
        figures = self.figures()
        words = {"audit": figures["audit"], "generator": figures["generator"]}
        return [*figures["table"], *({"metric": name, "meaning": text} for name, text in words.items())]

    def reports(self) -> list[dict[str, Any]]:
        """Return the finished runs that have a report, newest first."""
        return [
            {"number": number, "name": path.name}
            for number, path in reversed(list(enumerate(self.source.finished)))
            if (path / "report.html").is_file()
        ]

    def _count_marked(self) -> None:
        """Count the marked seconds of new rows."""
        if self._run != self.source.run:
            self._run, self._last, self._marked = self.source.run, None, 0
        for row in self.source.rows(self._last.t + 1 if self._last else 0):
            self._marked += bool(row.marked)
            self._last = row


def _row(row: TimelineRow) -> list[Any]:
    values: list[Any] = [row.t, row.phase, row.step, row.bots, row.connected]
    values += (row.counts.get(name, 0) for name in ("sent", "delivered"))
    for name in _TIMELINE_METRICS:
        found = row.metrics.get(name)
        values += (found.p50, found.p99, found.p999, found.max) if found and found.count else (None,) * 4
    server = (row.server.cpu, row.server.rss_bytes) if row.server else (None, None)
    return [*values, row.loop_lag_max_us, row.cpu, *server, row.marked]


def _table(scope: Scope) -> list[dict[str, Any]]:
    """Return a row for each metric that has samples: rate per second, latencies in ms."""
    return [
        {
            "metric": metric.name,
            "meaning": metric.meaning,
            "of_server": metric.measures_server,
            "per_second": round(found.count / scope.seconds, 1) if scope.seconds else 0.0,
            "p50": found.p50 / 1000,
            "p90": found.p90 / 1000,
            "p99": found.p99 / 1000,
            "p999": found.p999 / 1000,
            "max": found.max / 1000,
        }
        for metric in METRICS
        if (found := scope.metrics.get(metric.name)) and found.count
    ]


def _audit(faults: Mapping[str, int]) -> str:
    found = [f"{faults[name]:,} {name}" for name in FAULTS if faults.get(name)]
    return ", ".join(found) or "no faults so far: nothing lost, repeated or reordered"


def _generator(last: TimelineRow | None, marked: int) -> str:
    if last is None:
        return "no second measured yet"
    said = f"busiest process {last.cpu:.2f} of a core, loop lag up to {last.loop_lag_max_us / 1000:.1f} ms"
    seconds = "no second" if not marked else f"{marked} second{'s' if marked > 1 else ''}"
    return f"{said} in the last second; {seconds} marked so far" + (
        f" ({last.marked})" if last.marked else ""
    )
