"""Sessions open at a crash end at the last log line of their server."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.log_files.report_runner import Row, at, interval_line, log_line, run_report, write_log


def opened(seconds: float, session: str, **fields: Any) -> Row:
    return log_line(
        seconds, "session_opened", session_id=session, username=f"u{session}", dialect="text", **fields
    )


def closed(seconds: float, session: str, **fields: Any) -> Row:
    return opened(seconds, session, **fields) | {
        "event": "session_closed",
        "reason": "quit",
        "duration_s": 1.0,
    }


CRASHED = [
    log_line(0, "server_started"),
    *(opened(second, f"s{second}") for second in (1, 2, 3)),
    closed(4, "s1"),
    log_line(9, "trimmed"),
    log_line(60, "server_started"),
    opened(61, "s2", resumed=True),
    opened(62, "s4"),
]
"""Three sessions opened and one closed; two were cut off by a crash, one of them resumed."""


def shortened(seconds: float) -> str:
    return at(seconds).replace(".000000", "")


def peak(path: str, *flags: str) -> tuple[int, str]:
    [row] = run_report("summary", *flags, path).rows("activity")
    return row["peak_sessions"], row["peak_at"]


def test_find_peak_crashed_run_ends_its_sessions(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", CRASHED)
    assert peak(path) == (3, shortened(3))
    assert peak(path, "--user", "us2") == (1, shortened(2))
    # A session that closes after the crash counts once, and another node is not affected
    more = [opened(63 + n, f"new{n}") for n in range(2)]
    path = write_log(tmp_path / "log", [*CRASHED, *more, log_line(70, "server_started", node="other")])
    assert peak(path) == (4, shortened(64))


def test_find_peak_sessions_before_the_log_count_from_its_start(tmp_path: Path) -> None:
    lines = [opened(5, "c"), closed(6, "a"), closed(7, "b"), closed(8, "c")]
    assert peak(write_log(tmp_path / "log", lines)) == (3, shortened(5))
    assert peak(write_log(tmp_path / "log", lines[1:])) == (3, shortened(6))
    # A session that opened meanwhile adds one, though its end is not logged
    assert peak(write_log(tmp_path / "log", lines[:3])) == (3, shortened(5))


def test_find_peak_dropped_closing_counts_session_once(tmp_path: Path) -> None:
    lines = [opened(1, "a"), opened(2, "a", resumed=True), closed(3, "a"), opened(4, "b")]
    assert peak(write_log(tmp_path / "log", lines)) == (1, shortened(1))


def test_find_peak_crashed_node_has_no_sessions(tmp_path: Path) -> None:
    # Given all of a's sessions go to b when a crashes, and a is started again an hour later
    counts = [
        log_line(0, "server_started", node="a"),
        *(interval_line(10 * n, node="a", sessions=50) for n in range(1, 4)),
        *(interval_line(10 * n + 1, node="b", sessions=0 if n < 4 else 50) for n in range(1, 9)),
        log_line(3600, "server_started", node="a"),
        interval_line(3610, node="a", sessions=1),
    ]
    # Then there were never a hundred
    assert peak(write_log(tmp_path / "log", counts))[0] == 51


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from("+-!"), st.sampled_from("ab")), max_size=12), st.randoms())
def test_find_peak_random_sessions_matches_manual_count(
    tmp_path_factory: Any, events: list[tuple[str, str]], shuffled: Any
) -> None:
    lines = [log_line(0, "server_started", node=node) for node in "ab"]
    on: dict[str, list[str]] = {"a": [], "b": []}
    most = 0
    for second, (what, node) in enumerate(events, start=1):
        if what == "+":
            on[node].append(f"s{second}")
            lines.append(opened(second, f"s{second}", node=node))
        elif what == "-" and on[node]:
            lines.append(closed(second, on[node].pop(), node=node))
        elif what == "!":
            # It crashes with its last line, and starts at once; what others did in between came later
            on[node].clear()
            lines += [
                log_line(second, "trimmed", node=node),
                log_line(second + 0.5, "server_started", node=node),
            ]
        most = max(most, sum(map(len, on.values())))
    shuffled.shuffle(lines)
    path = write_log(tmp_path_factory.mktemp("peak") / "log", lines)
    [row] = run_report("summary", path).rows("activity")
    assert (row["peak_sessions"] or 0) == most


def test_sessions_report_after_crash_lists_cut_off_and_open(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", CRASHED)
    answer = run_report("sessions", path)
    found = {row["session_id"]: row for row in answer.rows("sessions")}
    assert {name: (row["ended"], row["reason"]) for name, row in found.items()} == {
        "s1": (shortened(4), "quit"),
        "s2": (None, None),
        "s3": (shortened(9), "crashed"),
        "s4": (None, None),
    }
    assert (found["s2"]["duration_s"], found["s3"]["duration_s"]) == (7.0, 6.0)
    assert {row["reason"]: row["sessions"] for row in answer.rows("endings")} == {"quit": 1, "crashed": 2}
    still = run_report("sessions", "--open", path).rows("sessions")
    assert {row["session_id"] for row in still} == {"s2", "s4"}
    [lost] = run_report("sessions", "--reason", "crashed", "--user", "us3", path).rows("sessions")
    assert lost["ended"] == shortened(9)


def test_trouble_table_lists_crashes(tmp_path: Path) -> None:
    again = [
        log_line(70, "server_stopped"),
        log_line(80, "server_started"),
        log_line(5, "server_started", node="other"),
    ]
    path = write_log(tmp_path / "log", [*CRASHED, *again])
    for report in ("errors", "summary"):
        [row] = run_report(report, path).rows("trouble")
        assert (row["kind"], row["what"], row["count"], row["last"]) == ("crashed", "n", 1, shortened(9))


def test_sessions_report_resumed_session_is_open(tmp_path: Path) -> None:
    lines = [opened(1, "a"), closed(2, "a"), opened(3, "a", resumed=True)]
    [row] = run_report("sessions", "--open", write_log(tmp_path / "log", lines)).rows("sessions")
    assert (row["ended"], row["reason"], row["resumed"]) == (None, None, 1)
    [row] = run_report("sessions", write_log(tmp_path / "log", [*lines, closed(4, "a")])).rows("sessions")
    assert (row["ended"], row["reason"]) == (shortened(4), "quit")


def test_a_server_that_stopped_in_order_did_not_crash(tmp_path: Path) -> None:
    lines = [opened(1, "a"), log_line(5, "server_stopped"), log_line(9, "server_started"), opened(10, "b")]
    found = {
        row["session_id"]: row
        for row in run_report("sessions", write_log(tmp_path / "log", lines)).rows("sessions")
    }
    assert (found["a"]["ended"], found["a"]["reason"]) == (shortened(5), None)


def test_sessions_report_session_surviving_crash_is_not_cut_off(tmp_path: Path) -> None:
    # Given a session that came back after a crash, until the server stopped in order
    lines = [*CRASHED, log_line(70, "server_stopped"), log_line(80, "server_started")]
    found = {
        row["session_id"]: row
        for row in run_report("sessions", write_log(tmp_path / "log", lines)).rows("sessions")
    }
    assert (found["s2"]["ended"], found["s2"]["reason"]) == (shortened(70), None)
    assert (found["s3"]["ended"], found["s3"]["reason"]) == (shortened(9), "crashed")


def test_restarts_lines_with_server_stopped_time_are_no_crash(tmp_path: Path) -> None:
    lines = [
        log_line(5, "session_closed", session_id="a"),
        log_line(5, "server_stopped"),
        log_line(9, "server_started"),
    ]
    lines += [log_line(5, "trimmed")]
    assert run_report("errors", write_log(tmp_path / "log", lines)).rows("trouble") == []


def test_slow_report_lag_ends_with_crashed_run(tmp_path: Path) -> None:
    lag: Row = {"username": "u", "behind": 5, "waiting_bytes": 1, "duration_s": 1.0}
    lines = [
        log_line(0, "server_started"),
        log_line(10, "reader_lagging", session_id="a", **lag),
        log_line(20, "trimmed"),
        log_line(3600, "server_started"),
        opened(3601, "a", resumed=True),
        closed(3700, "a"),
        log_line(3800, "reader_lagging", session_id="b", **lag),
    ]
    answer = run_report("slow", write_log(tmp_path / "log", lines))
    found = {row["session_id"]: (row["last_ended"], row["lasted_s"]) for row in answer.rows("readers")}
    assert found == {"a": ("crashed", 11.0), "b": ("unknown", None)}
    [row] = answer.rows("lags")
    assert (row["left"], row["unknown"], row["longest_s"]) == (1, 1, 11.0)
    # Given that the reader lagged once more before the crash: nobody knows how long it had lagged before
    lines[2] = log_line(20, "reader_lagging", session_id="a", **lag)
    [row] = run_report("slow", write_log(tmp_path / "log", lines)).rows("lags")
    assert (row["left"], row["unknown"], row["longest_s"]) == (1, 2, 1.0)
