"""Exposition of the metrics: Prometheus' text format or OpenMetrics, as the scraper asks.

There is no registry: each page has a collector of its own, so nothing of prometheus-client's default registry
gets into it.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import accumulate
from typing import Final

from prometheus_client import exposition
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from chat_server.observability.metrics.snapshot import Value
from chat_server.observability.metrics.table import METRICS, MetricSpec, MetricType
from chat_server.observability.metrics.totals import HistogramCounts

NAME_UNITS: Final = ("seconds", "bytes")
"""Units that are suffixes of names, and so go into OpenMetrics' UNIT line."""


class Format(Enum):
    """The two formats, with their content types."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @classmethod
    def wanted(cls, accept: str) -> "Format":
        """Return the format that an Accept header asks for."""
        return cls.OPENMETRICS if "application/openmetrics-text" in accept.lower() else cls.TEXT


_ENCODERS: Final[Mapping[Format, Callable[[Collector], bytes]]] = {
    Format.TEXT: exposition.generate_latest,
    Format.OPENMETRICS: openmetrics.generate_latest,
}


def render_page(values: Mapping[str, Value], form: Format) -> bytes:
    """Return the page with these values, by name of the metric."""
    return _ENCODERS[form](_TableCollector(values))


class _TableCollector(Collector):
    """Collects the rows of the table that have a value."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def collect(self) -> Iterator[Family]:
        """Return the metrics in the order of the table."""
        for row in METRICS:
            value = self._values.get(row.name)
            if value is not None:
                yield _family(row, value)


def _family(row: MetricSpec, value: Value) -> Family:
    name = row.name.removesuffix("_total") if row.kind is MetricType.COUNTER else row.name
    unit = row.unit if row.unit in NAME_UNITS and name.endswith(row.unit) else ""
    family = Family(name, row.meaning, str(row.kind), unit)
    if isinstance(value, HistogramCounts):
        _add_histogram(family, row, value)
    elif isinstance(value, Mapping):
        for labels, number in value.items():
            family.add_sample(row.name, dict(zip(row.labels, labels, strict=True)), number)
    else:
        family.add_sample(row.name, {}, value)
    return family


def _add_histogram(family: Family, row: MetricSpec, counts: HistogramCounts) -> None:
    upto = list(accumulate(counts.buckets))
    for bound, count in zip((*map(str, row.bounds), "+Inf"), upto, strict=True):
        family.add_sample(f"{row.name}_bucket", {"le": bound}, count)
    family.add_sample(f"{row.name}_sum", {}, counts.total)
    family.add_sample(f"{row.name}_count", {}, upto[-1])
