"""Sentences about storms: connections cut, sessions resumed, time to resume, messages caught up."""

import pytest

from chat_swarm.model.schema import Quantiles
from chat_swarm.report.page import checks, server_tiles
from chat_swarm.report.terminal_summary import format_summary
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.storm_stats import all_resumed, describe_storms
from support.swarm.synthetic_run import synthetic_run


def stormy(*starts: int, bots: dict[str, int] | None = None, timed: int = 0, **counts: int) -> FinishedRun:
    """Return a run with storms at these seconds; `timed` is the number of timed resumes and catch-ups."""
    run = synthetic_run(steady=20, samples=200, shape="storm", options={"shape_every": 30.0})
    for row in run.rows:
        number = sum(1 for start in starts if start <= row.t)
        row.step = f"storm {number}" if number else "calm"
    for name in ("all", "steady"):
        scope = run.scope(name)
        scope.counts.update(counts)
        if timed:
            scope.metrics["resume"] = Quantiles(count=timed, p50=44_000, p99=90_000, max=101_000)
            scope.metrics["catch_up"] = Quantiles(count=timed, p50=20_000, p99=50_000, max=72_000)
    if bots is not None:
        run.summary.bots = bots
    return run


def test_storms_after_which_all_resumed_are_described_in_full() -> None:
    run = stormy(12, 18, timed=60, cuts=60, resumed=60, caught_up=1_234)
    cut, waited, missed = describe_storms(run)
    assert cut == (
        "2 storms (at 12 and 18 s) cut 60 connections; all 60 resumed their sessions;"
        " the slowest resume took 101 ms."
    )
    assert waited == (
        "Each resume includes up to 100 ms, at random, that the bot waits before it reconnects."
    )
    assert missed == ("The bots caught up with 1,234 missed messages, at most 72 ms after being sent.")
    text = format_summary(run)
    assert all(sentence in text for sentence in describe_storms(run))
    assert "  storms            2 storms (at 12 and 18 s) cut" in text
    (check,) = (one for one in checks(run) if one.title == "Storms")
    assert check.severity == "good"
    assert check.text == " ".join(describe_storms(run))
    tiles = {tile.label: (tile.value, tile.note) for tile in server_tiles(run)}
    assert tiles["Back after a cut, p99"] == ("90", "p50 44 ms, p99.9 0 µs")
    assert tiles["Caught up, p99"][0] == "50"


def test_storms_without_full_return_count_the_missing() -> None:
    run = stormy(15, timed=20, cuts=30, resumed=25, not_resumed=3)
    cut, *_ = describe_storms(run)
    assert cut == (
        "1 storm (at 15 s) cut 30 connections; 25 resumed their sessions, 3 got new ones,"
        " 2 were still away at the end; the slowest resume of 20 timed ones took 101 ms."
    )
    assert not all_resumed(run)
    (check,) = (one for one in checks(run) if one.title == "Storms")
    assert check.severity == "none"


def test_storms_without_timed_resumes_state_no_time() -> None:
    (said,) = describe_storms(stormy(15, cuts=30))
    assert said == (
        "1 storm (at 15 s) cut 30 connections; 0 resumed their sessions, 30 were still away at the end."
    )


def test_storms_with_churn_bots_mention_their_cuts() -> None:
    run = stormy(15, bots={"ChurnBot": 5}, cuts=30, resumed=30)
    assert "cut 30 connections, including ChurnBots' own cuts; all 30" in describe_storms(run)[0]


def test_storms_above_the_limit_are_shown_as_a_range() -> None:
    run = stormy(*range(11, 29, 3), cuts=6, resumed=6)
    assert describe_storms(run)[0].startswith("6 storms (from 11 s to 26 s) cut 6 connections")


def test_storms_in_a_run_that_was_too_short_say_so() -> None:
    (said,) = describe_storms(stormy())
    assert said == (
        "No storm: the first is 30 s after all bots are connected (--shape-every), and the run ended before"
        " that."
    )
    assert f"  storms            {said}" in format_summary(stormy())


@pytest.mark.parametrize("shape", ["", "burst"])
def test_storms_of_another_shape_are_empty(shape: str) -> None:
    run = synthetic_run(steady=20, samples=200, shape=shape)
    assert describe_storms(run) == []
    assert "storm" not in format_summary(run).lower()
    assert "Back after a cut, p99" not in [tile.label for tile in server_tiles(run)]
