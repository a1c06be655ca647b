import io
import os
import sys
from pathlib import Path

import pytest

from support.log_files.report_runner import (
    ReportAnswer,
    Row,
    at,
    encoded_histogram,
    interval_line,
    log_line,
    run_report,
    write_log,
)


def day(first: int, count: int, latency: int, errors: int) -> list[Row]:
    """Return so many intervals of ten seconds, with 100 messages each."""
    return [
        interval_line(
            first + 10 * n,
            messages=100,
            sessions=n,
            accept_to_commit=encoded_histogram(*[latency] * 1000),
            commit_to_sent=encoded_histogram(*[50] * 1000),
            errors={"rate_limited": errors} if errors else {},
        )
        for n in range(1, count + 1)
    ]


@pytest.fixture
def days(tmp_path: Path) -> tuple[str, str]:
    """Twenty good intervals, and ten of the next day that are worse."""
    return write_log(tmp_path / "before", day(0, 20, 100, 1)), write_log(
        tmp_path / "now", day(86_400, 10, 150, 2)
    )


def rows(answer: ReportAnswer, table: str) -> dict[str, Row]:
    return {row["figure"]: row for row in answer.rows(table)}


def test_two_logs_side_by_side(days: tuple[str, str]) -> None:
    answer = run_report("compare", *days)
    latency = rows(answer, "latency")
    worse = latency["accept_to_commit.p99"]
    assert (worse["before_us"], worse["now_us"], worse["verdict"]) == (100, 150, "worse")
    assert worse["change"] == pytest.approx(50)
    assert latency["commit_to_sent.p99"]["verdict"] == "same"
    assert "rtt.p99" not in latency
    assert (
        rows(run_report("compare", *reversed(days)), "latency")["accept_to_commit.p99"]["verdict"] == "better"
    )


def test_counts_are_compared_by_their_rate(days: tuple[str, str]) -> None:
    answer = run_report("compare", *days)
    traffic = rows(answer, "traffic")["messages"]
    assert (traffic["before"], traffic["now"]) == (2000, 1000)
    assert (traffic["before_per_s"], traffic["now_per_s"], traffic["change"]) == (10, 10, 0)
    errors = rows(answer, "trouble")["errors"]  # as many in half the time: twice the rate
    assert (errors["before"], errors["now"], errors["change"], errors["verdict"]) == (20, 20, 100, "worse")
    assert rows(answer, "trouble")["errors.rate_limited"]["verdict"] == "worse"
    assert rows(answer, "traffic")["sessions.peak"]["now"] == 10


def test_nodes_count_together_over_the_same_time(tmp_path: Path) -> None:
    one = day(0, 10, 100, 1)
    two = [*one, *(row | {"node": "m"} for row in one)]
    answer = run_report("compare", write_log(tmp_path / "one", one), write_log(tmp_path / "two", two))
    assert rows(answer, "traffic")["messages"]["change"] == 100
    assert rows(answer, "traffic")["sessions.peak"]["now"] == 20
    assert rows(answer, "trouble")["errors"]["now_per_h"] == 720


def test_compare_report_equal_logs_are_same(real_log: Path) -> None:
    answer = run_report("compare", real_log, real_log, "--fail-if", "latency.max>+0%,rtt.p99>+0%,errors>+0%")
    verdicts = {row["verdict"] for table in ("latency", "trouble") for row in answer.rows(table)}
    assert verdicts <= {"same", "few samples"}
    assert {row["result"] for row in answer.rows("bounds")} == {"kept"}


def test_a_broken_bound_is_shown_and_exits_with_1(days: tuple[str, str]) -> None:
    answer = ReportAnswer(
        "compare", "--json", *days, "--fail-if", "latency.p99>+20%", "--fail-if", "errors>99,rtt.p99>1s"
    )
    assert answer.code == 1
    assert [(row["figure"], row["found"], row["result"]) for row in answer.rows("bounds")] == [
        ("accept_to_commit.p99", "+50.0 %", "broken"),
        ("commit_to_sent.p99", "+0.0 %", "kept"),
        ("errors", "20", "kept"),
        ("rtt.p99", "not measured", "broken"),
    ]
    assert run_report("compare", *days, "--fail-if", "latency.p99>+60%").rows("latency")


def test_files_against_files(days: tuple[str, str], tmp_path: Path) -> None:
    before, now = days
    more = write_log(tmp_path / "before.1", day(-1000, 20, 100, 0))
    answer = run_report("compare", now, "--against", before, more)
    assert rows(answer, "traffic")["messages"]["before"] == 4000
    assert rows(answer, "trouble")["errors"]["now"] == 20


def test_two_times_of_one_log(days: tuple[str, str]) -> None:
    noon = at(43_200)
    options = ("--since", noon, "--baseline-until", noon)
    answer = run_report("compare", *days, *options)
    assert rows(answer, "latency")["accept_to_commit.p99"]["change"] == pytest.approx(50)
    assert rows(answer, "traffic")["messages"]["before"] == 2000


def test_standard_input_may_be_either(days: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = days
    for args, path in (([before, "-"], now), (["-", now], before), ([now, "--against", "-"], before)):
        with monkeypatch.context() as patched, Path(path).open("rb") as file:
            patched.setattr(sys, "stdin", io.TextIOWrapper(file))
            _reading(patched, file.fileno())
            assert rows(run_report("compare", *args), "latency")["accept_to_commit.p99"]["verdict"] == "worse"


def _reading(patched: pytest.MonkeyPatch, descriptor: int) -> None:
    """Make a file look like descriptor 0."""
    fstat = os.fstat
    patched.setattr(os, "fstat", lambda number: fstat(descriptor if number == 0 else number))


def test_percentiles_of_few_samples_are_no_verdict(tmp_path: Path) -> None:
    few = [
        write_log(tmp_path / name, [interval_line(10, rtt=encoded_histogram(*[value] * 20))])
        for name, value in (("a", 5), ("b", 50))
    ]
    latency = rows(run_report("compare", *few), "latency")
    assert latency["rtt.p50"]["verdict"] == "worse"
    assert latency["rtt.p99"]["verdict"] == "few samples"


def test_compare_report_change_within_noise_is_same(days: tuple[str, str]) -> None:
    assert (
        rows(run_report("compare", *days, "--noise", "60"), "latency")["accept_to_commit.p99"]["verdict"]
        == "same"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "give two files"),
        (("{now}", "{now}"), "give two files"),
        (("--baseline-since", "2h"), "give --since or --until"),
        (("{now}", "--fail-if", "latency.p99>20"), "write 20ms, 20us or 20s"),
        (("{empty}",), "the baseline has no interval lines"),
        (("--against", "{empty}"), "the baseline has no interval lines"),
        (("--against", "{now}", "--since", "2030-01-01"), "the log to judge has no interval lines"),
    ],
)
def test_compare_report_wrong_arguments_give_explanation(
    days: tuple[str, str], tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    empty = write_log(tmp_path / "empty", [log_line(1, "trimmed")])
    given = [option.format(now=days[1], empty=empty) for option in options]
    answer = (
        ReportAnswer("compare", *given[:1], days[0], *given[1:])
        if given[:1] == [empty]
        else ReportAnswer("compare", days[0], *given)
    )
    assert answer.code == 2
    assert says in answer.errors


def test_hostile_lines_are_counted_and_compared(hostile_log: Path, days: tuple[str, str]) -> None:
    answer = ReportAnswer("compare", days[1], "--against", hostile_log, days[0])
    assert answer.code == 0
    assert "are not log lines" in answer.text
    assert ReportAnswer("compare", "--csv", *days).text.startswith("figure,before_us")


def test_what_nobody_counts_for_a_room_is_unknown_and_not_none(tmp_path: Path) -> None:
    # Given intervals that know of errors, but not in which room
    busy = [{"room": "lobby", "messages": 5, "deliveries": 9}]
    counts: Row = {"errors": {"rate_limited": 3}, "closed": {"quit": 1}, "rooms": busy}
    lines = [interval_line(10 * n, **counts) for n in (1, 2, 3)]
    log = write_log(tmp_path / "log", lines)
    # When the room is asked about, then there is no figure
    bounds = ("--fail-if", "errors>0", "--fail-if", "errors.rate_limited>0", "--fail-if", "stalled>0")
    answer = ReportAnswer("compare", "--json", "--room", "lobby", *bounds, log, log)
    assert answer.code == 1
    assert {row["found"] for row in answer.rows("bounds")} == {"not measured"}, answer.text
    assert not [row for row in answer.rows("trouble") if row["figure"].startswith(("errors", "stalled"))]
    [activity] = run_report("summary", "--room", "lobby", log).rows("activity")
    assert [activity[name] for name in ("peak_sessions", "closed", "refused")] == [None, None, None]
    assert (activity["messages"], activity["messages_per_s"]) == (15, 0.5)  # in the thirty seconds covered
    steps = run_report("timeline", "--room", "lobby", log).rows("timeline")
    assert {(row["sessions"], row["closed"], row["errors"]) for row in steps} == {(None, None, None)}
    # And for all rooms there are
    [activity] = run_report("summary", log).rows("activity")
    assert [activity[name] for name in ("peak_sessions", "closed", "refused")] == [1, 3, 0]


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [(0, 1, "few"), (1, 0, "few"), (0, 3, "few"), (0, 20, "worse"), (20, 0, "better"), (3000, 3400, "worse")],
)
def test_counts_that_differ_by_chance_get_no_verdict(
    tmp_path: Path, before: int, now: int, verdict: str
) -> None:
    logs = [
        write_log(tmp_path / f"log{n}", [*day(0, 9, 100, 0), *day(90, 1, 100, count)])
        for n, count in enumerate((before, now))
    ]
    assert rows(run_report("compare", *logs), "trouble")["errors"]["verdict"] == verdict
