from pathlib import Path
from typing import Any

from support.log_files.report_runner import (
    ReportAnswer,
    encoded_histogram,
    interval_line,
    log_line,
    run_report,
    write_log,
)


def closed(seconds: float, name: str, **fields: Any) -> dict[str, object]:
    return log_line(
        seconds, "session_closed", username=name, session_id=f"id-{name}", rtt_samples=3, **fields
    )


def log(tmp_path: Path) -> str:
    return write_log(
        tmp_path / "log",
        [
            interval_line(10, rtt=encoded_histogram(1000, 2000)),
            interval_line(80, rtt=encoded_histogram(900_000)),
            closed(11, "near", rtt_p50_ms=1.0, rtt_p99_ms=2.0, tcp_rtt_ms=0.5),
            closed(12, "far", rtt_p50_ms=100.0, rtt_p99_ms=120.0, tcp_rtt_ms=99.0),
            closed(13, "busy", rtt_p50_ms=50.0, rtt_p99_ms=500.0, tcp_rtt_ms=1.0),
            closed(14, "never-pinged", tcp_rtt_ms=3.0),
        ],
    )


def test_round_trips_of_all_and_by_time(tmp_path: Path) -> None:
    answer = run_report("rtt", "--every", "1m", log(tmp_path))
    assert answer.rows("total")[0]["count"] == 3
    assert [row["count"] for row in answer.rows("rtt")] == [2, 1]


def test_rtt_report_worst_option_changes_order(tmp_path: Path) -> None:
    path = log(tmp_path)

    def worst(by: str) -> list[str]:
        return [row["username"] for row in run_report("rtt", "--worst", by, path).rows("sessions")]

    assert worst("p99") == ["busy", "far", "near"]
    assert worst("tcp") == ["far", "never-pinged", "busy", "near"]
    assert worst("queueing") == ["busy", "far", "near"]


def test_queueing_is_what_the_programs_add_to_the_kernels_round_trip(tmp_path: Path) -> None:
    rows = {row["username"]: row["queueing_ms"] for row in run_report("rtt", log(tmp_path)).rows("sessions")}
    assert rows == {"busy": 49.0, "far": 1.0, "near": 0.5}


def test_a_real_server_has_measured_its_sessions(real_log: Path, hostile_log: Path) -> None:
    answer = run_report("rtt", real_log)
    assert answer.rows("total")[0]["count"] >= 2
    assert {row["username"] for row in answer.rows("sessions")}
    assert ReportAnswer("rtt", hostile_log).code == 0
    assert ReportAnswer("rtt", "--csv", real_log).text.count("username") == 1


def test_queueing_is_never_below_zero_without_a_word(tmp_path: Path) -> None:
    lines = [
        closed(1, "odd", rtt_p50_ms=2.0, rtt_p99_ms=3.0, tcp_rtt_ms=5.0),
        closed(2, "usual", rtt_p50_ms=4.0, rtt_p99_ms=5.0, tcp_rtt_ms=1.0),
    ]
    path = write_log(tmp_path / "log", lines)
    queueing = {row["username"]: row["queueing_ms"] for row in run_report("rtt", path).rows("sessions")}
    assert queueing == {"odd": None, "usual": 3.0}
    assert (
        "queueing is empty where the kernel's round trip is the longer one" in run_report("rtt", path).errors
    )
    alone = write_log(tmp_path / "alone", lines[1:])
    assert "queueing is empty" not in run_report("rtt", alone).errors
