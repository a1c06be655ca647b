"""Medians, ratios and tables of results; the description of the machine."""

import os

import msgspec
import pytest

from chat_bench.machine import OtherLoad, busy_seconds, cpu_model, describe
from chat_bench.results import METRICS, Results, summarize
from chat_bench.table import comparison, measurements, page, table


@pytest.fixture
def results() -> Results:
    found = Results(
        started="2025-01-01 00:00 UTC",
        machine={"cores": "2", "CPU": "Example"},
        settings={"rounds": 3, "seconds": 1.5},
        versions={"C loop": "", "greenroom": "0.1.0", "redis": "7.0.15"},
    )
    for ours, floor in [(4.0, 3.0), (9.0, 2.0), (3.0, 2.5)]:
        found.add("fanout_1", "greenroom", ours)
        found.add("fanout_1", "C loop", floor)
    found.add("login_rate", "greenroom", 3210.4)
    return found


def test_summarize_returns_median_and_range() -> None:
    found = summarize([9.0, 3.0, 4.0, 5.0])
    assert (found.median, found.least, found.most) == (4.5, 3.0, 9.0)


def test_ratio_is_of_medians_and_none_without_samples(results: Results) -> None:
    assert results.ratio("fanout_1", "greenroom", "C loop") == pytest.approx(4.0 / 2.5)
    assert results.ratio("fanout_1", "greenroom", "redis") is None


def test_measurements_has_a_row_for_each_measured_metric(results: Results) -> None:
    head, rule, *rows = measurements(results).splitlines()
    assert [part.strip() for part in head.strip("|").split("|")][1:] == [
        "C loop",
        "greenroom 0.1.0",
        "redis 7.0.15",
    ]
    assert set(rule) == {"|", "-"}
    assert [row.split("|")[1].strip() for row in rows] == [
        METRICS["fanout_1"].title,
        METRICS["login_rate"].title,
    ]
    assert "4.00 (3.00-9.00)" in rows[0]
    assert [part.strip() for part in rows[1].strip("|").split("|")][1:] == ["-", "3,210", "-"]


def test_comparison_shows_ratios_where_less_is_better(results: Results) -> None:
    rows = comparison(results).splitlines()
    assert len(rows) == 3
    assert "1.60" in rows[2]


def test_table_lines_have_equal_width() -> None:
    lines = table([["a", "µs"], ["longer", "1"]]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_page_names_missing_and_failed_systems(results: Results) -> None:
    results.absent.append("nats (nats-server is not on the PATH)")
    results.failures.append("redis, pairs: 3 messages are missing")
    text = page(results)
    assert "Not installed, so not measured: nats (nats-server is not on the PATH)." in text
    assert "Failed: redis, pairs: 3 messages are missing." in text


def test_results_round_trip_json(results: Results) -> None:
    assert msgspec.json.decode(msgspec.json.encode(results), type=Results) == results


def test_describe_is_complete() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Example 3000 @ 2 GHz\n") == "Example 3000 @ 2 GHz"
    assert cpu_model("processor\t: 0\n") == "unknown"
    assert all(describe().values())


def test_busy_seconds_excludes_idle_and_iowait() -> None:
    stat = "cpu  10 20 30 4000 5000 60 70 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\n"
    assert busy_seconds(stat) == pytest.approx(190 / os.sysconf("SC_CLK_TCK"))
    assert OtherLoad().cores() >= 0
