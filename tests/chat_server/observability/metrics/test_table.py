"""The table of metrics follows Prometheus' conventions, and uses the names of the log."""

import re

from chat_server.observability.metrics.table import METRICS, OTHER, MetricType
from chat_server.vocabulary import EVENTS, FIELDS, LogEvent

BOUNDED = {"node", "store", "sync", "version"}
"""Labels without a closed list: a server has one value of each."""


def test_metric_names_follow_prometheus_conventions() -> None:
    # https://prometheus.io/docs/practices/naming/
    assert len({row.name for row in METRICS}) == len(METRICS)
    for row in METRICS:
        assert re.fullmatch(r"(greenroom|process)(_[a-z]+)+", row.name)
        assert row.name.endswith("_total") == (row.kind is MetricType.COUNTER), row.name
        if row.unit in {"seconds", "bytes"}:
            assert row.name.removesuffix("_total").endswith("_" + row.unit), row.name
        assert not re.search(r"_(ms|us|s|kb|kib|percent)(_|$)", row.name), "base units only"


def test_metric_meanings_are_sentences() -> None:
    assert [row.name for row in METRICS if not re.fullmatch(r"[A-Z0-9].*\.", row.meaning, re.DOTALL)] == []


def test_metrics_of_log_fields_bear_their_names() -> None:
    of_intervals = set(EVENTS[LogEvent.INTERVAL].fields)
    for row in METRICS:
        if row.field:
            assert row.field in FIELDS
            assert row.field in of_intervals
    counted = {row.field for row in METRICS}
    # Rooms would be series without end; a scrape covers no interval; the lag is a histogram here.
    assert of_intervals - counted == {"interval_s", "rooms", "loop_lag_max_ms"}
    same = {"greenroom_received_bytes_total": "bytes_in", "greenroom_sent_bytes_total": "bytes_out"}
    for row in METRICS:
        if row.field and row.field != "rss_bytes":
            assert row.field in row.name or same.get(row.name) == row.field, row.name


def test_metric_labels_have_closed_lists_without_users() -> None:
    for row in METRICS:
        if row.values:
            assert len(row.labels) == 1
            assert len(set(row.values)) == len(row.values)
            assert OTHER in row.values
        else:
            assert set(row.labels) <= BOUNDED
        assert not {"username", "user", "room", "address", "session_id"} & set(row.labels)


def test_histogram_bounds_are_ascending() -> None:
    for row in METRICS:
        assert bool(row.bounds) == (row.kind is MetricType.HISTOGRAM)
        assert list(row.bounds) == sorted(set(row.bounds))


def test_page_has_few_series() -> None:
    series = sum(len(row.bounds) + 3 if row.bounds else max(1, len(row.values)) for row in METRICS)
    assert series < 200
