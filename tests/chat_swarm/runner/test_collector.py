"""Rows and scopes are the sums of all processes' seconds, in whatever order reports arrive."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import MachineSample, ProcessSecond, ServerSample
from chat_swarm.runner.collector import DRAIN, RAMP, REPORT_WAIT_S, STEADY, Collector

BEGAN_UNIX = 1000
RUN_S = 12


def latency(*values: int) -> Histogram:
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    return histogram


def interval(unix: int, process: int = 0, marked: str = "", **counts: int) -> ProcessSecond:
    return ProcessSecond(
        unix=unix, process=process, bots=2, connected=1, counts=counts, marked=marked, cpu=0.5
    )


def many(processes: int) -> list[tuple[ProcessSecond, dict[str, Histogram]]]:
    """Return seconds of all processes, each with its own counts and values."""
    return [
        (
            interval(
                BEGAN_UNIX + second,
                process,
                "lag" if (second, process) == (6, 0) else "",
                sent=1 << process,
                delivered=second,
            ),
            {"delivery": latency(second * 1000 + process), "loop_lag": latency(process)},
        )
        for second in range(RUN_S)
        for process in range(processes)
    ]


def sums(collector: Collector, name: str) -> tuple[Counter[str], list[tuple[int, int]]]:
    tally = collector.tallies[name]
    return tally.counts, tally.histograms["delivery"].buckets()


@settings(max_examples=15)
@given(st.integers(1, 3), st.randoms(use_true_random=False))
def test_collector_with_reports_in_any_order_sums_rows_and_scopes(
    processes: int, chance: random.Random
) -> None:
    # Given processes whose reports are late, but within the wait
    took = [chance.uniform(0, REPORT_WAIT_S - 1) for _ in range(processes)]
    late = sorted(many(processes), key=lambda report: report[0].unix + took[report[0].process])
    collector = Collector(BEGAN_UNIX, processes)
    collector.mark_steady(BEGAN_UNIX + 2.5)
    collector.mark_drain(BEGAN_UNIX + 9.5)
    # When all have reported
    for second, histograms in late:
        collector.add_report(second, histograms)
    collector.finish()
    # Then there is a row for each second
    assert [row.t for row in collector.rows] == list(range(RUN_S))
    assert [row.phase for row in collector.rows] == [RAMP] * 3 + [STEADY] * 6 + [DRAIN] * 3
    for row in collector.rows:
        assert row.counts == {"sent": (1 << processes) - 1, "delivered": row.t * processes}
        assert (row.bots, row.connected) == (2 * processes, processes)
        assert row.metrics["delivery"].count == processes
    # And the scopes hold the sums of their seconds
    for name, members in (
        ("all", range(RUN_S)),
        ("steady", range(3, 9)),
        ("clean", [second for second in range(3, 9) if second != 6]),
    ):
        scope = collector.scopes()[name]
        assert scope.seconds == len(members)
        assert scope.counts["delivered"] == sum(members) * processes
        assert scope.rates["sent"] == pytest.approx((1 << processes) - 1)
        assert scope.metrics["loop_lag"].count == len(members) * processes
    assert collector.marked == {"lag": 1}


@settings(max_examples=15)
@given(st.integers(1, 3), st.randoms(use_true_random=False))
def test_collector_counts_late_reports_in_scopes(processes: int, chance: random.Random) -> None:
    reports = many(processes)
    whole, shuffled = Collector(BEGAN_UNIX, processes), Collector(BEGAN_UNIX, processes)
    for collector in (whole, shuffled):
        collector.mark_steady(BEGAN_UNIX - 1)
    for second, histograms in reports:
        whole.add_report(second, histograms)
    chance.shuffle(reports)
    for second, histograms in reports:
        shuffled.add_report(second, histograms)
    whole.finish()
    shuffled.finish()
    for name in ("all", "steady"):
        assert sums(shuffled, name) == sums(whole, name)


def test_collector_with_a_silent_process_closes_rows_after_the_wait() -> None:
    collector = Collector(BEGAN_UNIX, 2)
    for second in range(REPORT_WAIT_S + 1):
        assert not collector.rows
        collector.add_report(interval(BEGAN_UNIX + second, sent=1), {})
    assert [row.unix for row in collector.rows] == [BEGAN_UNIX]
    # And when its report comes after all, only the scopes change
    collector.add_report(interval(BEGAN_UNIX, 1, sent=5), {"ack": latency(7)})
    assert collector.rows[0].counts == {"sent": 1}
    assert collector.tallies["all"].counts["sent"] == 6
    assert collector.scopes()["all"].metrics["ack"].max == 7


@pytest.mark.parametrize("late_is_marked", [True, False])
def test_collector_late_report_of_a_marked_second_is_not_clean(late_is_marked: bool) -> None:
    collector = Collector(BEGAN_UNIX, 2)
    collector.mark_steady(BEGAN_UNIX - 1)
    marks = ("", "lag") if late_is_marked else ("lag", "")
    collector.add_report(interval(BEGAN_UNIX, 0, marks[0]), {})
    for second in range(1, REPORT_WAIT_S + 1):
        collector.add_report(interval(BEGAN_UNIX + second), {})
    collector.add_report(interval(BEGAN_UNIX, 1, marks[1], sent=3), {"ack": latency(5)})
    assert collector.tallies["steady"].counts["sent"] == 3
    assert collector.tallies["clean"].counts["sent"] == 0
    assert "ack" not in collector.tallies["clean"].histograms


def test_collector_latency_ending_in_the_drain_counts_as_steady() -> None:
    # Given a steady second, after which the server stalls until sending has stopped
    collector = Collector(BEGAN_UNIX, 1)
    collector.mark_steady(BEGAN_UNIX - 1)
    collector.add_report(interval(BEGAN_UNIX, sent=2, delivered=1), {"delivery": latency(100)})
    collector.mark_drain(BEGAN_UNIX + 1)
    collector.add_report(
        interval(BEGAN_UNIX + 1, delivered=1), {"delivery": latency(9_000_000), "rtt": latency(3)}
    )
    # Then the stall is in the steady latencies, and the rates are those of the steady second
    steady = collector.scopes()["steady"]
    assert steady.metrics["delivery"].max == 9_000_000
    assert "rtt" not in steady.metrics
    assert (steady.seconds, steady.counts["delivered"], steady.rates["delivered"]) == (1.0, 1, 1.0)


def test_collector_drain_without_steady_seconds_stays_unsteady() -> None:
    collector = Collector(BEGAN_UNIX, 1)
    collector.mark_drain(BEGAN_UNIX)
    collector.add_report(interval(BEGAN_UNIX), {"delivery": latency(1)})
    assert not collector.scopes()["steady"].metrics


def test_collector_merges_a_short_final_report_into_its_second() -> None:
    collector = Collector(BEGAN_UNIX, 2)
    first, last = interval(BEGAN_UNIX, sent=1), interval(BEGAN_UNIX, sent=2, delivered=1)
    first.seconds, last.seconds, last.marked = 0.5, 0.25, "lag"
    for one in (first, last):
        collector.add_report(one, {"ack": latency(1)})
    collector.finish()
    [row] = collector.rows
    assert row.counts == {"sent": 3, "delivered": 1}
    assert (row.bots, row.marked) == (2, "lag")
    assert collector.scopes()["all"].seconds == 0.75
    assert row.metrics["ack"].count == 2


def test_collector_packed_reports_equal_plain_ones() -> None:
    plain, packed = Collector(BEGAN_UNIX, 1), Collector(BEGAN_UNIX, 1)
    histogram = latency(1, 2048, 70_000)
    plain.add_report(interval(BEGAN_UNIX), {"ack": histogram})
    sealed = interval(BEGAN_UNIX)
    sealed.histograms = {"ack": histogram.pack()}
    packed.add_packed_report(sealed)
    assert packed.rows == plain.rows
    assert packed.tally_between(BEGAN_UNIX, BEGAN_UNIX + 1).histograms["ack"].buckets() == histogram.buckets()


def test_tally_between_sums_its_seconds() -> None:
    collector = Collector(BEGAN_UNIX, 1)
    for second, histograms in many(1):
        collector.add_report(second, histograms)
    tally = collector.tally_between(BEGAN_UNIX + 3, BEGAN_UNIX + 6)
    assert tally.counts == {"sent": 3, "delivered": 3 + 4 + 5}
    assert tally.histograms["delivery"].count == 3
    assert tally.seconds == 3


def test_collector_adds_samples_before_and_after_the_row() -> None:
    collector = Collector(BEGAN_UNIX, 1)
    early, late = (ServerSample(cpu=cpu, rss_bytes=1, descriptors=1) for cpu in (0.1, 0.2))
    machine = MachineSample(others=0.5, stolen=0.0)
    collector.add_samples(BEGAN_UNIX, early, machine)
    collector.add_report(interval(BEGAN_UNIX), {})
    collector.add_report(interval(BEGAN_UNIX + 1), {})
    collector.add_samples(BEGAN_UNIX + 1, late)
    assert [row.server for row in collector.rows] == [early, late]
    assert [row.machine for row in collector.rows] == [machine, None]


@pytest.mark.parametrize("stalled_s", [2, REPORT_WAIT_S - 1, REPORT_WAIT_S + 1, 4 * REPORT_WAIT_S])
def test_collector_marks_the_stall_of_one_process_and_keeps_rates(
    stalled_s: int,
) -> None:
    # Given two processes that report every second
    collector, first, end = Collector(BEGAN_UNIX, 2), BEGAN_UNIX + 5, BEGAN_UNIX + 40
    collector.mark_steady(BEGAN_UNIX)
    for unix in range(BEGAN_UNIX + 1, first):
        collector.add_report(interval(unix, 0, sent=10), {})
        collector.add_report(interval(unix, 1, sent=10), {})
    # When one stalls, and then reports all of that time at once
    for unix in range(first, first + stalled_s):
        collector.add_report(interval(unix, 0, sent=10), {})
    long = interval(first + stalled_s // 2, 1, "lag", sent=10 * stalled_s)
    long.seconds = stalled_s
    collector.add_report(long, {})
    for unix in range(first + stalled_s, end):
        collector.add_report(interval(unix, 0, sent=10), {})
        collector.add_report(interval(unix, 1, sent=10), {})
    collector.finish()
    # Then all of that time is marked, and the rates are not distorted
    assert [row.unix for row in collector.rows if row.marked] == list(range(first, first + stalled_s))
    assert collector.marked.total() == stalled_s
    scopes = collector.scopes()
    assert scopes["steady"].seconds == end - BEGAN_UNIX - 1
    assert scopes["steady"].rates["sent"] == scopes["clean"].rates["sent"] == 20


def test_collector_fills_the_stall_of_the_only_process_with_rows() -> None:
    # Given a process that reports every second
    collector = Collector(BEGAN_UNIX, 1)
    collector.mark_steady(BEGAN_UNIX)
    collector.add_report(interval(BEGAN_UNIX + 1, sent=10), {})
    # When it stalls from 2 to 5
    long = interval(BEGAN_UNIX + 3, marked="lag", sent=30)
    long.seconds = 3
    collector.add_report(long, {})
    collector.add_report(interval(BEGAN_UNIX + 5, sent=10), {})
    # Then no second is missing, and rates cover the time of the long report
    assert [(row.t, row.connected, bool(row.marked)) for row in collector.rows] == [
        (1, 1, False),
        (2, 1, True),
        (3, 1, True),
        (4, 1, True),
        (5, 1, False),
    ]
    assert collector.scopes()["steady"].rates["sent"] == 10
    assert collector.tally_between(BEGAN_UNIX + 1, BEGAN_UNIX + 6).to_scope().rates["sent"] == 10


def test_collector_waits_for_a_late_process_once_it_has_reported() -> None:
    collector = Collector(BEGAN_UNIX, 1)
    collector.add_report(interval(BEGAN_UNIX, 0), {})
    collector.add_report(interval(BEGAN_UNIX + 1, 0), {})
    collector.add_report(interval(BEGAN_UNIX + 1, 1), {})  # after the row, which did not wait for it
    collector.add_report(interval(BEGAN_UNIX + 2, 1), {})
    assert collector.last_row_unix() == BEGAN_UNIX + 1
    collector.add_report(interval(BEGAN_UNIX + 2, 0), {})
    assert collector.rows[-1].connected == 2


def test_collector_does_not_fill_the_gap_of_a_set_clock() -> None:
    collector = Collector(BEGAN_UNIX, 1)
    collector.add_report(interval(BEGAN_UNIX), {})
    collector.add_report(interval(BEGAN_UNIX + 10**8), {})
    assert len(collector.rows) == 2
