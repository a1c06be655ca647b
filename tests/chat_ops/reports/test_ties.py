"""Reports are deterministic, even with equal values and parallel reading."""

import random
from typing import Final

import pytest

from support.log_files.report_runner import (
    ReportAnswer,
    Row,
    encoded_histogram,
    interval_line,
    log_line,
    write_log,
)

ASKED: Final = (
    ["summary"],
    ["timeline"],
    ["rooms", "--limit", "3"],
    ["users"],
    ["sessions"],
    ["latency", "--by", "room"],
    ["rtt"],
    ["errors", "--limit", "1000"],
    ["slow"],
    ["storms", "--floor", "1", "--factor", "0"],
    ["audit", "--top", "1000"],
)
TROUBLES: Final = (
    *("loop_lag", "store_failed", "store_recovered", "internal_error"),
    *("batch_refused", "epoch_changed", "log_lines_dropped"),
)
PLACES: Final = [encoded_histogram(200), encoded_histogram(9000)]


def equals(chance: random.Random, node: str, second: int) -> list[Row]:
    """Return lines with one or two different times that differ in everything else."""
    lines = [log_line(second, "server_started", node=node, epoch=f"e{second}", store="x.db")]
    for k in range(8):
        fields = {
            "error": f"error {k}",
            "count": k % 3,
            "epoch": f"e{k}",
            "room": f"room{k}",
            "reason": f"r{k}",
        }
        event = chance.choice(TROUBLES)
        lines.append(log_line(second, event, node=node, level="warning", duration_s=k * 0.7, **fields))
    lines += [
        interval_line(
            second + 10,
            node=node,
            sessions=chance.randrange(5),
            interval_s=round(chance.uniform(9, 11), 6),
            store_bytes=chance.randrange(1000),
            closed={"quit": 2, "flooding": 3},
            refused={"too_many_connections": 300},
            errors={"rate_limited": 300, "other": 300},
            commit_to_sent=PLACES[k % 2],
            rooms=[{"room": f"room{j}", "messages": 5, "commit_to_sent": PLACES[j % 2]} for j in range(6)],
        )
        for k in range(3)
    ]
    for k in range(20):
        session: Row = {
            "node": node,
            "session_id": f"s{k}",
            "username": chance.choice(["Ann", "ANN", "bob", "BOB"]),
        }
        session["address"] = f"10.0.0.{k % 3}:{chance.randrange(9)}"
        ended: Row = {"reason": chance.choice(["flooding", "quit", "stalled", "reset"]), "rtt_p99_ms": 3.0}
        ended["duration_s"] = round(chance.uniform(0, 100), 6)
        lines += [
            log_line(second + 1, "session_opened", dialect=chance.choice(["text", "ndjson"]), **session),
            log_line(second + 2, "reader_lagging", level="warning", behind=5, duration_s=1.0, **session),
            log_line(second + 2, "session_closed", **session, **ended),
            log_line(second + 1, "message", room=f"room{k % 4}", seq=chance.randrange(20), **session),
            log_line(
                second + 2, "connection_refused", level="warning", address="10.1", reason=f"r{k % 5}", count=3
            ),
        ]
    return lines


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    chance = random.Random(3)
    folder = tmp_path_factory.mktemp("ties")
    lines = [one for node in "abc" for second in (0, 10, 20) for one in equals(chance, node, second)]
    chance.shuffle(lines)
    return [write_log(folder / f"{part}.log", lines[part::6]) for part in range(6)]


@pytest.mark.parametrize("asked", ASKED, ids=[words[0] for words in ASKED])
def test_reports_are_deterministic(asked: list[str], files: list[str]) -> None:
    answers = set()
    for turn in range(3):
        answer = ReportAnswer(asked[0], "--json", "--threads", "2", *asked[1:], *files[turn:], *files[:turn])
        assert answer.code == 0, answer.errors
        assert answer.text
        answers.add(answer.text)
    assert len(answers) == 1
