from pathlib import Path
from typing import Any

import pytest

from support.log_files.report_runner import ReportAnswer, Row, interval_line, log_line, run_report, write_log


def message(seconds: float, seq: int, room: str = "hall", **fields: Any) -> Row:
    return log_line(seconds, "message", room=room, seq=seq, **fields)


def started(seconds: float, epoch: str = "one", **fields: Any) -> Row:
    return log_line(seconds, "server_started", epoch=epoch, store="/data/chat.db", **fields)


def stopped(seconds: float) -> Row:
    return log_line(seconds, "server_stopped", uptime_s=seconds)


class Audit:
    """What the audit says of these lines."""

    def __init__(self, tmp_path: Path, *lines: Row, options: tuple[str, ...] = ()) -> None:
        answer = run_report("audit", *options, write_log(tmp_path / "log", lines))
        self.checks = {row["check"]: row for row in answer.rows("audit")}
        self.findings = answer.rows("findings")

    def verdict(self, check: str) -> str:
        return str(self.checks[check]["verdict"])

    def says(self, check: str) -> list[str]:
        return [row["says"] for row in self.findings if row["check"] == check]


def test_a_whole_log_of_two_runs_is_fine(tmp_path: Path) -> None:
    audit = Audit(
        tmp_path,
        started(0),
        log_line(0.5, "session_opened", session_id="s"),
        *(message(n, n) for n in range(1, 4)),
        log_line(9, "session_closed", session_id="s", messages_in=3),
        interval_line(10, messages=3, opened=1, closed={"quit": 1}),
        stopped(10.1),
        started(60),
        message(61, 4),  # it goes on at the next
        interval_line(70, messages=1),
    )
    assert {audit.verdict(check) for check in audit.checks} == {"fine"}
    assert audit.findings == []


def test_a_gap_is_wrong(tmp_path: Path) -> None:
    audit = Audit(tmp_path, started(0), message(1, 1), message(2, 2), message(3, 5), message(3, 1, "yard"))
    assert audit.verdict("gaps") == "wrong"
    assert audit.says("gaps") == ["after 2 comes 5"]
    assert "2 seqs have no line" in audit.checks["gaps"]["says"]
    assert audit.verdict("repeats") == "fine"


def test_a_gap_across_an_orderly_restart_is_wrong(tmp_path: Path) -> None:
    audit = Audit(tmp_path, started(0), message(1, 1), stopped(2), started(3), message(4, 3))
    assert audit.verdict("gaps") == "wrong"
    assert audit.says("gaps") == ["after 1 comes 3 across a restart"]


def test_a_gap_across_a_crash_may_be_lines_unwritten(tmp_path: Path) -> None:
    audit = Audit(tmp_path, started(0), message(1, 1), started(3), message(4, 3))
    assert audit.verdict("gaps") == "notice"
    assert "crashed in between" in audit.says("gaps")[0]
    assert audit.verdict("crashes") == "wrong"


def test_a_crash_of_another_node_explains_nothing(tmp_path: Path) -> None:
    audit = Audit(
        tmp_path,
        started(0),
        started(0.5, node="m", epoch="other"),
        message(1, 1),
        started(1.5, node="m", epoch="other"),
        stopped(2),
        started(3),
        message(4, 3),
    )
    assert audit.verdict("gaps") == "wrong"


def test_a_gap_near_dropped_lines_or_a_hole_proves_nothing(tmp_path: Path) -> None:
    dropped = Audit(
        tmp_path,
        started(0),
        message(1, 1),
        message(9, 7),
        log_line(30, "log_lines_dropped", count=5, level="error"),
    )
    assert dropped.verdict("gaps") == "notice"
    assert dropped.checks["lines_dropped"]["count"] == 5
    hole = Audit(tmp_path, started(0), message(1, 1), interval_line(10), message(55, 9), interval_line(60))
    assert hole.verdict("gaps") == "notice"
    assert "hole" in hole.says("gaps")[0]


def test_a_seq_issued_twice_is_wrong_even_after_a_crash(tmp_path: Path) -> None:
    audit = Audit(tmp_path, started(0), message(1, 1), message(2, 2), started(3), message(4, 2))
    assert audit.verdict("repeats") == "wrong"
    assert "2 was issued twice" in audit.says("repeats")[0]


def test_order_check_epoch_changed_restarts_seqs(tmp_path: Path) -> None:
    lines = [started(0), message(1, 1), message(2, 2), stopped(3), started(4, "two")]
    epoch_changed = log_line(
        4.1, "epoch_changed", epoch="two", reason="the log's end was lost", level="warning"
    )
    audit = Audit(tmp_path, *lines, epoch_changed, message(5, 1), message(6, 2))
    assert audit.verdict("repeats") == audit.verdict("gaps") == audit.verdict("disorder") == "fine"
    assert audit.verdict("epoch_changes") == "wrong"


def test_a_log_that_begins_midway_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = [message(1, 41), message(2, 42), stopped(3)]
    assert Audit(tmp_path, *first, started(4), message(5, 43)).verdict("gaps") == "fine"
    assert Audit(tmp_path, *first, started(4), message(5, 44)).verdict("gaps") == "wrong"
    # With the memory store, each run starts its seqs again.
    in_memory = started(4) | {"store": "memory", "epoch": "x"}
    assert Audit(tmp_path, *first, in_memory, message(5, 41)).verdict("repeats") == "fine"


def test_nodes_with_stores_of_their_own_do_not_mix(tmp_path: Path) -> None:
    both = [one for n in (1, 2, 3) for one in (message(n, n), message(n, n, node="m"))]
    audit = Audit(tmp_path, started(0), started(0, "else", node="m"), *both)
    assert audit.verdict("gaps") == audit.verdict("repeats") == "fine"
    shared = Audit(tmp_path, started(0), started(0, node="m"), *both)
    assert shared.verdict("repeats") == "notice"  # at the very same time: one line, twice


def test_messages_out_of_order_are_wrong(tmp_path: Path) -> None:
    audit = Audit(tmp_path, started(0), message(1, 1), message(3, 2), message(2, 3))
    assert audit.verdict("disorder") == "wrong"
    assert audit.verdict("gaps") == "fine"


def test_rotated_files_are_one_log_in_any_order(tmp_path: Path) -> None:
    old = write_log(tmp_path / "log.1", [started(0), message(1, 1), message(2, 2)])
    new = write_log(tmp_path / "log", [message(3, 3), message(4, 4)])
    for files in ((old, new), (new, old)):
        checks = {row["check"]: row["verdict"] for row in run_report("audit", *files).rows("audit")}
        assert checks["gaps"] == checks["disorder"] == checks["clock_back"] == "fine"
    assert "wrong" in {
        row["verdict"]
        for row in run_report("audit", write_log(tmp_path / "x", [message(1, 1), message(3, 3)])).rows(
            "audit"
        )
    }


def test_order_check_without_message_lines_is_unknown(tmp_path: Path) -> None:
    audit = Audit(tmp_path, started(0), interval_line(10, messages=7))
    assert audit.verdict("gaps") == "cannot tell"
    assert "--log-messages" in audit.checks["gaps"]["says"]
    of_one = Audit(tmp_path, started(0), message(1, 1, username="ann"), options=("--user", "ann"))
    assert of_one.verdict("gaps") == "cannot tell"


def test_holes_are_where_no_interval_reaches(tmp_path: Path) -> None:
    audit = Audit(
        tmp_path, started(0), interval_line(10), interval_line(20.02), interval_line(60), stopped(60.1)
    )
    assert audit.says("holes") == ["no interval covers the 30.0 s from here"]
    assert Audit(tmp_path, started(0), interval_line(40)).says("holes") == [
        "no interval covers the 30.0 s from here"
    ]
    assert (
        Audit(tmp_path, interval_line(40), stopped(41), started(900), interval_line(910)).verdict("holes")
        == "fine"
    )


def test_a_file_given_twice_is_noticed(tmp_path: Path) -> None:
    lines = [started(0), message(1, 1), interval_line(10), interval_line(20)]
    copy = write_log(tmp_path / "copy", lines)
    answer = run_report("audit", write_log(tmp_path / "log", lines), copy)
    verdicts = {row["check"]: row["verdict"] for row in answer.rows("audit")}
    assert verdicts["repeats"] == verdicts["overlaps"] == "notice"


def test_a_clock_that_goes_back_is_noticed(tmp_path: Path) -> None:
    audit = Audit(
        tmp_path,
        log_line(100, "trimmed"),
        log_line(99.9, "trimmed"),
        log_line(90, "trimmed"),
        log_line(91, "trimmed"),
    )
    assert len(audit.says("clock_back")) == 1
    assert "9.900 s back" in audit.says("clock_back")[0]


def test_a_store_in_trouble(tmp_path: Path) -> None:
    audit = Audit(
        tmp_path,
        log_line(1, "store_failed", error="disk full", level="error"),
        log_line(3, "store_recovered", duration_s=2.0),
        log_line(5, "store_failed", error="locked", level="error"),
        log_line(6, "batch_refused", count=12, error="locked", level="error"),
        log_line(7, "internal_error", error="oops", error_type="KeyError", level="error"),
    )
    assert audit.says("store_failures") == [
        "the store failed and did not recover in this log: locked",
        "the store failed for 2 s: disk full",
    ]
    assert audit.checks["messages_refused"]["count"] == 12
    assert audit.verdict("internal_errors") == "wrong"


def run_of(opened: int, closed: int, messages: int, sent: int, *more: Row) -> list[Row]:
    return [
        started(0),
        *(log_line(n, "session_opened", session_id=str(n)) for n in range(1, 4)),
        *(
            log_line(n + 4, "session_closed", session_id=str(n), messages_in=sent if n == 1 else 0)
            for n in range(1, 4)
        ),
        interval_line(10, opened=opened, closed={"quit": closed}, messages=messages),
        *more,
        stopped(10.1),
    ]


def test_sums_that_agree_are_fine(tmp_path: Path) -> None:
    assert Audit(tmp_path, *run_of(3, 3, 9, 9)).verdict("sums") == "fine"


@pytest.mark.parametrize("sums", [(4, 3, 9, 9), (3, 2, 9, 9), (3, 3, 9, 10), (3, 3, 10, 9)])
def test_sums_that_do_not_are_wrong(tmp_path: Path, sums: tuple[int, int, int, int]) -> None:
    assert Audit(tmp_path, *run_of(*sums)).verdict("sums") == "wrong"


def test_sums_check_explained_difference_is_not_wrong(tmp_path: Path) -> None:
    refused = log_line(9, "batch_refused", count=1, level="error")
    assert Audit(tmp_path, *run_of(3, 3, 9, 10, refused)).verdict("sums") == "fine"
    dropped = log_line(9, "log_lines_dropped", count=1, level="error")
    assert Audit(tmp_path, *run_of(4, 3, 9, 9, dropped)).verdict("sums") == "notice"
    operator = log_line(9.5, "session_opened", session_id="console")
    assert Audit(tmp_path, *run_of(4, 3, 12, 9, operator)).verdict("sums") == "notice"


def test_a_real_servers_log_proves_that_nothing_is_wrong(real_log: Path) -> None:
    answer = run_report("audit", "--fail-if", "wrong", real_log)
    checks = {row["check"]: row for row in answer.rows("audit")}
    assert "wrong" not in {row["verdict"] for row in checks.values()}
    for proven in ("gaps", "repeats", "disorder", "holes", "sums", "crashes"):
        assert checks[proven]["verdict"] == "fine", proven


def test_a_line_that_is_taken_out_of_a_real_log_is_missed(real_log: Path, tmp_path: Path) -> None:
    lines = real_log.read_text().splitlines(keepends=True)
    for event, check in (("message", "gaps"), ("session_closed", "sums"), ("session_opened", "sums")):
        # Not the first of its room: nobody knows where a log begins.
        victim = [n for n, text in enumerate(lines) if f'"event":"{event}"' in text][-3]
        cut = tmp_path / "cut.log"
        cut.write_text("".join(lines[:victim] + lines[victim + 1 :]))
        answer = ReportAnswer("audit", "--json", "--fail-if", "wrong", cut)
        assert answer.code == 1
        assert {row["check"] for row in answer.rows("audit") if row["verdict"] == "wrong"} == {check}


def test_a_hostile_log_is_survived(hostile_log: Path) -> None:
    for form in ((), ("--json",), ("--csv",)):
        answer = ReportAnswer("audit", *form, hostile_log)
        assert answer.code == 0
        assert "\x1b" not in answer.text
    assert ReportAnswer("audit", "--fail-if", "unknown", hostile_log).code == 1


@pytest.mark.parametrize("options", [("--room", "hall"), ("--user", "ann"), ("--user", "nobody")])
def test_audit_of_one_room_or_user_reports_server_events(options: tuple[str, str], tmp_path: Path) -> None:
    # Given a crash, lines that were lost, and intervals most of which do not name the room
    busy = [{"room": "hall", "messages": 1}]
    audit = Audit(
        tmp_path,
        started(0),
        message(1, 1, username="ann"),
        *(interval_line(10 * n, rooms=busy if n in {1, 6} else []) for n in range(1, 7)),
        log_line(61, "log_lines_dropped", count=7, level="error"),
        started(100),
        message(101, 3, username="ann"),
        options=options,
    )
    # Then they are reported, there is no false hole, and the missing seqs are explained by the crash
    assert (audit.verdict("crashes"), audit.verdict("lines_dropped")) == ("wrong", "notice")
    assert audit.verdict("holes") == "fine"
    assert audit.verdict("gaps") == ("notice" if options[0] == "--room" else "cannot tell")


def test_audit_without_lines_is_unknown(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", [started(0), stopped(9)])
    answer = ReportAnswer("audit", "--json", "--fail-if", "unknown", "--since", "2026-11-22", path)
    assert answer.code == 1
    assert [(row["check"], row["verdict"]) for row in answer.rows("audit")] == [("lines", "cannot tell")]


def test_clock_that_was_set_back_is_no_disorder(tmp_path: Path) -> None:
    """At 09:30 the clock goes back to 09:00; at 09:40 of it, it is past the old time."""
    audit = Audit(
        tmp_path,
        started(1000),
        *(message(1700 + n, n) for n in range(1, 101)),
        *(message(n, 100 + n) for n in range(1, 101)),
        *(message(20 * n, 200 + n) for n in range(10, 111)),
        stopped(2300),
        started(2400),
        message(2401, 311),
    )
    assert {audit.verdict(check) for check in ("gaps", "repeats", "disorder")} <= {"fine", "notice"}
    assert audit.verdict("clock_back") == "notice"
    assert audit.verdict("crashes") == "notice"  # the run that began at 09:16 has lines before that
    assert "not counted, as the clock was set back" in audit.checks["disorder"]["says"]


def test_disorder_beside_a_clock_that_was_set_back_is_wrong(tmp_path: Path) -> None:
    audit = Audit(
        tmp_path,
        started(0),
        *(message(100 + n, n) for n in (1, 2, 3, 4)),
        *(message(50 + n, 4 + n) for n in (1, 2)),  # set back
        message(201, 8),  # long after
        message(202, 7),
    )
    assert audit.verdict("disorder") == "wrong"
    assert audit.says("disorder") == ["7 comes after 8"]
    assert audit.verdict("clock_back") == "notice"


@pytest.mark.parametrize("lines", [[], ['{"a": 1}'], ["text", "", "more"]])
@pytest.mark.parametrize("bound", ["wrong", "notice", "unknown"])
def test_nothing_to_audit_is_no_success(tmp_path: Path, lines: list[str], bound: str) -> None:
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in lines))
    answer = ReportAnswer("audit", "--fail-if", bound, tmp_path / "log")
    if lines or bound != "unknown":
        assert answer.code == 2
        assert ("none of the" if lines else "nothing to audit") in answer.errors
        assert answer.text == ""
    else:
        assert answer.code == 1
