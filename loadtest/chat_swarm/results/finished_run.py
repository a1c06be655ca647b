"""A finished run: its summary, its seconds and its histograms, together.

Knows what belongs together. Must not know files, nor how anything is shown.
"""

from dataclasses import dataclass, field

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import Row, Scope, Summary

HistogramsByScope = dict[str, dict[str, Histogram]]
"""Metric → scope → histogram."""


@dataclass(slots=True, kw_only=True)
class FinishedRun:
    """All that a run directory holds."""

    summary: Summary
    rows: list[Row] = field(default_factory=list)
    histograms: HistogramsByScope = field(default_factory=dict)

    def scope(self, name: str) -> Scope:
        """Return the figures over some of the seconds; empty ones if there were none such."""
        return self.summary.scopes.get(name) or Scope()

    def histograms_of(self, scope: str) -> dict[str, Histogram]:
        """Return metric → histogram over some of the seconds."""
        return {metric: scopes[scope] for metric, scopes in self.histograms.items() if scope in scopes}

    def rows_of(self, scope: str) -> list[Row]:
        """Return the seconds of a scope: all, the steady ones, or the steady ones that are not marked."""
        match scope:
            case "steady":
                return [row for row in self.rows if row.phase == "steady"]
            case "clean":
                return [row for row in self.rows if row.phase == "steady" and not row.marked]
        return self.rows
