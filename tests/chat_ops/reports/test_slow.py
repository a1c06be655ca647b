from pathlib import Path
from typing import Any

from support.log_files.report_runner import ReportAnswer, Row, interval_line, log_line, run_report, write_log


def lagging(seconds: float, session: str, behind: int = 100, **fields: Any) -> Row:
    return log_line(
        seconds,
        "reader_lagging",
        level="warning",
        session_id=session,
        username=f"user {session}",
        behind=behind,
        waiting_bytes=65_000,
        duration_s=1.0,
        **fields,
    )


def caught_up(seconds: float, session: str, lasted: float) -> Row:
    return log_line(seconds, "reader_caught_up", session_id=session, messages=500, duration_s=lasted)


def closed(seconds: float, session: str, reason: str) -> Row:
    return log_line(
        seconds, "session_closed", session_id=session, reason=reason, duration_s=300.0, username="u"
    )


def readers(tmp_path: Path, *lines: Row) -> dict[str, Row]:
    rows = run_report("slow", write_log(tmp_path / "log", lines)).rows("readers")
    return {row["session_id"]: row for row in rows}


def test_a_reader_that_lags_twice_and_catches_up_each_time(tmp_path: Path) -> None:
    [(session, row)] = readers(
        tmp_path,
        lagging(1, "a", behind=40),
        caught_up(5, "a", 5.0),
        lagging(20, "a", behind=90),
        caught_up(22, "a", 3.0),
        closed(30, "a", "quit"),
    ).items()
    assert session == "a"
    assert (row["lags"], row["caught_up"], row["last_ended"]) == (2, 2, "caught up")
    assert (row["lasted_s"], row["longest_s"], row["most_behind"], row["fed"]) == (8.0, 5.0, 90, 1000)
    assert row["most_waiting_bytes"] == 65_000


def test_how_a_lag_ends(tmp_path: Path) -> None:
    found = readers(
        tmp_path,
        *(lagging(10, session) for session in ("stalls", "leaves", "goes on")),
        closed(40, "stalls", "stalled"),
        closed(15, "leaves", "quit"),
        closed(50, "never logged", "stalled"),
        caught_up(51, "began before", 60.0),
        closed(60, "always quick", "quit"),
    )
    assert {session: row["last_ended"] for session, row in found.items()} == {
        "stalls": "stalled",
        "leaves": "left",
        "goes on": "unknown",
        "never logged": "stalled",
        "began before": "caught up",
    }
    assert found["stalls"]["lasted_s"] == 31.0  # 1 s when it was logged, 30 s since
    assert found["leaves"]["lasted_s"] == 6.0
    assert found["goes on"]["lasted_s"] is None
    assert found["began before"]["lasted_s"] == 60.0


def test_the_lags_in_sum(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "log",
        [
            lagging(1, "a"),
            interval_line(10, lagging=2, caught_up=700),
            caught_up(11, "a", 11.0),
            lagging(12, "b"),
            closed(19, "b", "stalled"),
            interval_line(20, lagging=0, caught_up=50),
        ],
    )
    [row] = run_report("slow", path).rows("lags")
    assert (row["lags"], row["caught_up"], row["stalled"], row["left"], row["unknown"]) == (2, 1, 1, 0, 0)
    assert (row["fed"], row["lagging_peak"], row["lagging"]) == (750, 2, [2, 0])


def test_one_session_id_on_two_nodes_is_two_readers(tmp_path: Path) -> None:
    path = write_log(
        tmp_path / "log", [lagging(1, "a", node="x"), lagging(2, "a", node="y"), caught_up(3, "a", 2.0)]
    )
    assert [row["last_ended"] for row in run_report("slow", path).rows("readers")].count("unknown") == 2


def test_slow_report_more_readers_than_top_adds_note(tmp_path: Path) -> None:
    lines = [one for n in range(5) for one in (lagging(n, str(n)), caught_up(50 + n, str(n), float(n + 1)))]
    answer = run_report("slow", "--top", "2", write_log(tmp_path / "log", lines))
    assert [row["session_id"] for row in answer.rows("readers")] == ["4", "3"]
    assert "the 2 slowest of 5" in answer.errors


def test_slow_report_without_lags_is_empty(real_log: Path, hostile_log: Path) -> None:
    assert run_report("slow", real_log).rows("readers") == []
    for form in ("--json", "--csv"):
        assert ReportAnswer("slow", form, hostile_log).code == 0


def test_a_name_with_escape_codes_reaches_no_terminal(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", [lagging(1, "a") | {"username": "\x1b[31mred\u202e"}])
    for form in ((), ("--json",), ("--csv",)):
        text = ReportAnswer("slow", *form, path).text
        assert "red" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
