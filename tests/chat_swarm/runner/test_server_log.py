"""The server's own latencies, read from the log of a real server's format."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from chat_swarm.model.histogram import Histogram
from chat_swarm.results.server_process import server_log_sentence
from chat_swarm.runner.server_log import ServerLog

BEGAN = 1_800_000_000


def encoded(*values_us: int) -> str:
    histogram = Histogram()
    histogram.record(np.array(values_us, dtype=np.int64))
    return histogram.encode().decode()


def interval(at: float, commit_us: int, sent_us: int, lag_ms: float = 0.5) -> str:
    line = {
        "ts": datetime.fromtimestamp(BEGAN + at, UTC).isoformat(),
        "level": "info",
        "event": "interval",
        "interval_s": 1.0,
        "accept_to_commit": encoded(commit_us),
        "commit_to_sent": encoded(sent_us),
        "loop_lag_max_ms": lag_ms,
        "rooms": [],
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "server.log"
    path.write_text(interval(-5, 9_000_000, 9_000_000))
    return path


def test_intervals_of_the_time_are_added_up(log: Path) -> None:
    server_log = ServerLog(log)
    with log.open("a") as file:
        file.write(interval(1, 90_000, 90_000))  # before the headline's seconds
        file.write(interval(3, 1000, 200) + '{"event":"message"}\n' + interval(4, 3000, 400, 7.5))
        file.write(interval(9, 90_000, 90_000))
        file.write(interval(4, 1, 1)[:50])  # still being written
    found = server_log.figures(BEGAN + 2, BEGAN + 5)
    assert (found.lines, found.problem) == (2, "")
    assert found.accept_to_commit.count == found.commit_to_sent.count == 2
    assert found.accept_to_commit.max == pytest.approx(3000, rel=1e-3)
    assert found.commit_to_sent.max == pytest.approx(400, rel=1e-3)
    assert found.loop_lag_max_us == 7500
    said = server_log_sentence(found)
    assert "acceptance → commit p50 1 ms" in said
    assert "loop lag up to 7.50 ms" in said


def test_rotated_log_is_read_from_its_beginning(log: Path) -> None:
    server_log = ServerLog(log)
    log.rename(log.with_suffix(".1"))
    log.write_text(interval(3, 1000, 200))
    assert server_log.figures(BEGAN, BEGAN + 5).lines == 1


def test_log_that_is_of_no_use_says_why(log: Path) -> None:
    server_log = ServerLog(log)
    assert "no interval lines of that time" in server_log.figures(BEGAN, BEGAN + 5).problem
    with log.open("a") as file:
        file.write(interval(3, 1, 1).replace("HISTF", "HOSTF"))
    assert "not an encoded histogram" in server_log.figures(BEGAN, BEGAN + 5).problem
    log.unlink()
    found = server_log.figures(BEGAN, BEGAN + 5)
    assert "cannot be read" in found.problem
    assert found.problem in server_log_sentence(found)
