from pathlib import Path
from typing import Any

import pytest

from support.log_files.report_runner import (
    START_TIME,
    ReportAnswer,
    Row,
    encoded_histogram,
    interval_line,
    log_line,
    run_report,
    write_log,
)


def opened(seconds: float, resumed: bool = False) -> Row:
    return log_line(seconds, "session_opened", session_id=f"s{seconds}", resumed=resumed)


def closed(seconds: float, reason: str, **fields: Any) -> Row:
    return log_line(seconds, "session_closed", reason=reason, **fields)


def calm(until: int) -> list[Row]:
    """Return a second's two arrivals, and an interval each ten."""
    arrivals = [opened(second + part) for second in range(until) for part in (0.1, 0.6)]
    ends = [
        interval_line(end, commit_to_sent=encoded_histogram(*[200] * 50), opened=20)
        for end in range(10, until + 1, 10)
    ]
    return [*arrivals, *ends]


def storms(tmp_path: Path, *lines: Row) -> list[Row]:
    return run_report("storms", write_log(tmp_path / "log", lines)).rows("storms")


def test_a_calm_day_has_no_storm(tmp_path: Path) -> None:
    assert storms(tmp_path, *calm(300)) == []


def test_storms_report_busy_server_has_higher_threshold(tmp_path: Path) -> None:
    # Given 40 a second all the time: more than the floor, and usual here
    steady = [opened(second + n / 40) for second in range(120) for n in range(40)]
    # Then it is no storm; ten times as many for two seconds is one
    assert storms(tmp_path, *steady) == []
    burst = [opened(60 + n / 400) for n in range(800)]
    [storm] = storms(tmp_path, *steady, *burst)
    assert (storm["from"][11:19], storm["lasted_s"], storm["peak"]) == ("09:01:00", 2.0, 440)


def test_storms_report_reconnect_storm_has_all_figures(tmp_path: Path) -> None:
    # Given all are cut at 100 s, and come back over four seconds with a pause of two between
    cut = [closed(100.0 + n / 1000, "timeout" if n % 3 else "reset") for n in range(300)]
    back = [opened(second + n / 200, resumed=n % 10 != 0) for second in (102, 105) for n in range(150)]
    slow = interval_line(
        110, commit_to_sent=encoded_histogram(*[90_000] * 50), refused={"too_many_connections": 7}
    )
    lines = [
        one for one in calm(200) if not (one["event"] == "interval" and one["ts"].endswith("01:50.000000Z"))
    ]
    # When
    [storm] = storms(tmp_path, *lines, *cut, *back, slow)
    # Then
    assert storm["from"] == START_TIME.replace(minute=1, second=40).isoformat().replace("+00:00", "Z")
    assert storm["lasted_s"] == 6.0
    assert storm["kind"] == "reconnects"
    assert (storm["closed"], storm["reasons"]) == (300, "timeout 200, reset 100")
    assert storm["opened"] == 300 + 12  # plus the usual arrivals
    assert storm["resumed"] == pytest.approx(100 * 270 / 312)
    assert storm["refused"] == 7
    assert storm["p99_us"] == pytest.approx(90_000, rel=0.001)
    assert storm["p99_before_us"] == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([opened(50 + n / 100) for n in range(100)], "arrivals"),
        ([closed(50 + n / 100, "quit") for n in range(100)], "departures"),
        (
            [*(closed(50 + n / 100, "quit") for n in range(100)), *(opened(50 + n / 40) for n in range(30))],
            "departures",
        ),
        ([interval_line(50, refused={"too_many_connections": 900})], "refusals"),
    ],
)
def test_kinds(tmp_path: Path, lines: list[Row], kind: str) -> None:
    assert [row["kind"] for row in storms(tmp_path, *calm(30), *lines, interval_line(90))] == [kind]


def test_storms_report_options_change_thresholds(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", [*calm(60), *(opened(30 + n / 10) for n in range(8))])
    assert run_report("storms", path).rows("storms") == []
    assert len(run_report("storms", "--floor", "5", path).rows("storms")) == 1
    assert run_report("storms", "--floor", "5", "--top", "0", path).rows("storms") == []


def test_storms_report_lists_floods_and_flooders(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "log",
        [
            interval_line(10, errors={"rate_limited": 2}),  # somebody pastes
            interval_line(20, errors={"rate_limited": 900, "bad_frame": 4}),
            interval_line(30, errors={"rate_limited": 400}, closed={"flooding": 1, "quit": 3}),
            *(interval_line(end) for end in range(40, 100, 10)),
            interval_line(100, closed={"flooding": 1}),
            closed(25, "flooding", address="10.0.0.9:1234", username="spam", messages_in=5, bytes_in=7),
            closed(99, "flooding", address="10.0.0.9:999", username="spam2", messages_in=5, bytes_in=7),
            log_line(20, "connection_refused", address="10.0.0.8", reason="rate", count=40, sessions=3),
            log_line(30, "connection_refused", address="10.0.0.8", reason="rate", count=2, sessions=9),
            log_line(30, "connection_refused", reason="others", count=5, others=3),
        ],
    )
    answer = run_report("storms", path)
    floods = [
        (row["from"][14:19], row["lasted_s"], row["rate_limited"], row["flooding"])
        for row in answer.rows("floods")
    ]
    assert floods == [("00:10", 20.0, 1300, 1), ("01:30", 10.0, 0, 1)]
    [flooder] = answer.rows("flooders")
    assert (flooder["address"], flooder["times"], flooder["messages_in"]) == ("10.0.0.9", 2, 10)
    refused = [
        (row["address"], row["count"], row["sessions"], row["others"]) for row in answer.rows("refused")
    ]
    assert refused == [("10.0.0.8", 42, 9, None), (None, 5, None, 3)]


def test_a_real_log_and_a_hostile_one_have_answers(real_log: Path, hostile_log: Path) -> None:
    assert [row["reason"] for row in run_report("storms", real_log).rows("refused")] == ["the server is full"]
    for form in ((), ("--json",), ("--csv",)):
        answer = ReportAnswer("storms", *form, hostile_log)
        assert answer.code == 0
        assert "\x1b" not in answer.text
