"""Logs with absurd values do not break any report."""

import json
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram

from chat_ops import cli
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.stats import hdr_codec

REPORTS = ("summary", "timeline", "latency", "errors", "sessions", "users", "rooms", "slow", "storms")
INTERVAL = '{"ts": "2026-01-01T00:00:00Z", "level": "info", "event": "interval", "node": "n", '


def start(ts: str) -> str:
    return json.dumps({"ts": ts, "level": "info", "event": "server_started", "node": "n"})


@pytest.mark.parametrize(
    "ts",
    [
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "294247-01-01T00:00:00Z",
        "0044-03-15 (BC)",
        "infinity",
        "-infinity",
        "0001-01-01T00:00:00Z",
    ],
)
def test_a_time_that_is_none_makes_the_line_a_bad_one(tmp_path: Path, ts: str) -> None:
    file = tmp_path / "a.log"
    file.write_text(f"{start('2026-01-01T00:00:00Z')}\n{start(ts)}\n")
    with EventLog([str(file)]) as log:
        assert (log.extent.lines, log.bad_lines) == (2, 1)
        assert len(log.rows("SELECT ts FROM lines")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        '"interval_s": 1e300, "messages_in": 5',
        '"interval_s": "inf", "messages_in": 5',
        '"interval_s": "nan", "loop_lag_max_ms": "nan"',
        '"duration_s": 1e300',
        '"interval_s": 1, "messages_in": 9223372036854775807, "opened": -9223372036854775808',
        '"interval_s": 1, "errors": {"x": 9223372036854775807}, "closed": {"y": 9223372036854775807}',
        '"interval_s": 1, "rooms": [{"room": "r", "messages": 9223372036854775807}]',
    ],
)
@pytest.mark.parametrize("report", REPORTS)
def test_numbers_out_of_any_sense_end_no_report(tmp_path: Path, fields: str, report: str) -> None:
    file = tmp_path / "a.log"
    file.write_text(2 * f"{INTERVAL}{fields}}}\n")
    assert cli.main([report, "--json", str(file)]) == cli.EXIT_OK


def test_what_duckdb_cannot_answer_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text(start("2026-01-01T00:00:00Z") + "\n")
    with EventLog([str(file)]) as log, pytest.raises(UsageError, match="the query failed"):
        log.rows("SELECT 9223372036854775807::BIGINT + 1::BIGINT FROM lines")


@pytest.mark.parametrize("options", [["--factor", "nan"], ["--floor", "nan"], ["--threads", "0"]])
def test_options_out_of_any_sense_are_refused(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "a.log"
    file.write_text(start("2026-01-01T00:00:00Z") + "\n")
    assert cli.main(["storms", *options, str(file)]) == cli.EXIT_USAGE


def test_a_histogram_of_more_digits_than_the_servers_is_broken() -> None:
    finer = HdrHistogram(1, 3_600_000_000, 5)
    finer.record_value(7)
    assert hdr_codec.decode_payloads([finer.encode().decode()])[1] == [0]


def test_writers_of_a_room_are_counted_without_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.log"
    ts = "2026-01-01T00:00:00Z"
    said = [{"ts": ts, "event": "message", "room": "r", "username": name} for name in ("Ann", "ann")]
    file.write_text("".join(json.dumps(one) + "\n" for one in said))
    assert cli.main(["rooms", "--json", str(file)]) == cli.EXIT_OK
    assert json.loads(capsys.readouterr().out.splitlines()[0])["people"] == 1
