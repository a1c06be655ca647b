"""A finished run in memory: summary, one row per second, histograms."""

from dataclasses import dataclass, field

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import Scope, Summary, TimelineRow

HistogramsByScope = dict[str, dict[str, Histogram]]
"""Metric → scope → histogram."""


@dataclass(slots=True, kw_only=True)
class FinishedRun:
    """The contents of a run directory."""

    summary: Summary
    rows: list[TimelineRow] = field(default_factory=list)
    histograms: HistogramsByScope = field(default_factory=dict)

    def scope(self, name: str) -> Scope:
        """Return the figures of a scope (`all`, `steady`, `clean`); an empty scope if it had no seconds."""
        return self.summary.scopes.get(name) or Scope()

    def histograms_of(self, scope: str) -> dict[str, Histogram]:
        """Return metric → histogram of a scope."""
        return {metric: scopes[scope] for metric, scopes in self.histograms.items() if scope in scopes}

    def rows_of(self, scope: str) -> list[TimelineRow]:
        """Return the rows of a scope: `all`, `steady`, or `clean` (steady and not marked)."""
        match scope:
            case "steady":
                return [row for row in self.rows if row.phase == "steady"]
            case "clean":
                return [row for row in self.rows if row.phase == "steady" and not row.marked]
        return self.rows
