from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ops.stats.histogram import SparseHistogram
from support.log_files.report_runner import (
    ReportAnswer,
    encoded_histogram,
    interval_line,
    log_line,
    run_report,
    write_log,
)


def room(name: str, *values: int) -> dict[str, object]:
    return {
        "room": name,
        "messages": len(values),
        "deliveries": 0,
        "accept_to_commit": encoded_histogram(*values),
    }


@pytest.fixture
def two_nodes(tmp_path: Path) -> str:
    """East is quick and busy, west slow and quiet."""
    return write_log(
        tmp_path / "log",
        [
            interval_line(10, node="east", messages=99, accept_to_commit=encoded_histogram(*[100] * 99)),
            interval_line(
                70,
                node="east",
                messages=99,
                accept_to_commit=encoded_histogram(*[100] * 99),
                rooms=[room("a", 7)],
            ),
            interval_line(
                70,
                node="west",
                messages=2,
                accept_to_commit=encoded_histogram(90_000, 100_000),
                rooms=[room("b", 9, 9)],
            ),
        ],
    )


def test_percentiles_of_parts_are_merged_and_not_averaged(two_nodes: str) -> None:
    [whole] = run_report("latency", two_nodes).rows("total")
    assert whole["figure"] == "accept_to_commit"
    assert whole["count"] == 200
    assert whole["p50_us"] == whole["p99_us"] == 100  # the mean of the three p99 would be 33,400
    assert whole["p999_us"] == whole["max_us"] == pytest.approx(100_000, rel=0.001)


def test_latency_report_each_step_has_its_own_percentiles(two_nodes: str) -> None:
    answer = run_report("latency", "--every", "1m", two_nodes)
    steps = answer.rows("accept_to_commit")
    assert [(row["step"][11:16], row["count"]) for row in steps] == [("09:00", 99), ("09:01", 101)]
    assert [row["max_us"] > 50_000 for row in steps] == [False, True]
    assert len(answer.rows("total")[0]["p99_over_time"]) == 2


def test_by_node_and_by_room(two_nodes: str) -> None:
    by_node = run_report("latency", "--by", "node", two_nodes).rows("by_node")
    assert [(row["node"], row["count"]) for row in by_node] == [("east", 198), ("west", 2)]
    by_room = run_report("latency", "--by", "room", two_nodes)
    assert [(row["room"], row["p50_us"]) for row in by_room.rows("by_room")] == [("b", 9), ("a", 7)]
    assert "busiest rooms" in by_room.errors
    one = run_report("latency", "--by", "room", "--top", "1", two_nodes)
    assert [row["room"] for row in one.rows("by_room")] == ["b"]
    assert "the 1 busiest of 2" in one.errors
    assert run_report("latency", "--room", "A", two_nodes).rows("total")[0]["max_us"] == 7


def test_a_time_without_measurements_is_no_row_and_a_gap_in_the_bars(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "log",
        [
            interval_line(n, commit_to_sent=encoded_histogram(50) if n != 130 else None)
            for n in (10, 130, 250)
        ],
    )
    answer = run_report("latency", "--every", "1m", path)
    assert len(answer.rows("commit_to_sent")) == 2
    assert answer.rows("total")[0]["p99_over_time"] == [50, None, None, None, 50]


def test_latency_report_unreadable_histogram_is_noted(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "log",
        [
            interval_line(10, accept_to_commit=encoded_histogram(5)),
            interval_line(20, accept_to_commit="AAAA"),
        ],
    )
    answer = run_report("latency", path)
    assert answer.rows("total")[0]["count"] == 1
    assert "1 histograms could not be read" in answer.errors


@pytest.mark.parametrize("how", [(), ("--by", "room"), ("--by", "node"), ("--csv",), ("--user", "ann")])
def test_a_real_log_and_a_hostile_one_have_answers(
    real_log: Path, hostile_log: Path, how: tuple[str, ...]
) -> None:
    for path in (real_log, hostile_log):
        answer = ReportAnswer("latency", *how, path)
        assert answer.code == 0
        assert "\x1b" not in answer.text


def test_a_real_servers_latencies_are_as_many_as_its_messages(real_log: Path) -> None:
    whole = {row["figure"]: row for row in run_report("latency", real_log).rows("total")}
    [sql] = run_report(
        "sql", "SELECT sum(messages)::BIGINT AS n FROM lines WHERE event = 'interval'", real_log
    ).rows("sql")
    assert whole["accept_to_commit"]["count"] == sql["n"] == 40
    rooms = run_report("latency", "--by", "room", real_log).rows("by_room")
    assert {row["room"] for row in rooms} >= {"lobby"}


@pytest.mark.parametrize("every", ["0s", "x", "-1m", "5"])
def test_a_step_that_is_none_is_refused(two_nodes: str, every: str) -> None:
    answer = ReportAnswer("latency", f"--every={every}", two_nodes)
    assert answer.code == 2
    assert "invalid step" in answer.errors


@given(st.lists(st.lists(st.integers(1, 3_000_000), min_size=1, max_size=30), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_percentiles_of_merged_histograms_are_those_of_the_values(parts: list[list[int]]) -> None:
    values = sorted(value for part in parts for value in part)
    merged = SparseHistogram.merge(encoded_histogram(*part) for part in parts)
    assert merged.count == len(values)
    for percent in (50, 90, 99, 99.9, 100):
        rank = max(int(percent / 100 * len(values) + 0.5), 1)
        assert merged.percentile(percent) == pytest.approx(values[rank - 1], rel=0.001, abs=0.5)


def test_lines_of_sessions_have_no_latency(tmp_path: Path) -> None:
    answer = run_report("latency", write_log(tmp_path / "log", [log_line(1, "trimmed", count=1)]))
    assert answer.text == ""
    assert "nothing to report" in answer.errors
