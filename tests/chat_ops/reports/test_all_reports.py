"""All reports on a real log: each value is computed again from the lines."""

import argparse
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chat_ops import cli
from chat_ops.log.event_log import EventLog
from chat_ops.log.filters import Filters
from chat_ops.reports import REPORTS
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportTable
from chat_server.vocabulary import HISTOGRAMS

Entry = dict[str, Any]


@pytest.fixture(scope="module")
def entries(real_log: Path) -> list[Entry]:
    return [json.loads(line) for line in real_log.read_text().splitlines()]


def of(entries: list[Entry], event: str) -> list[Entry]:
    found = [entry for entry in entries if entry["event"] == event]
    assert found, f"the real run has no {event}"
    return found


def report(name: str, path: Path, *flags: str, filters: Filters | None = None) -> dict[str, ReportTable]:
    parser = argparse.ArgumentParser()
    REPORTS[name].add_arguments(parser)
    with EventLog([str(path)], filters or Filters()) as log:
        return {table.name: table for table in REPORTS[name].run(log, parser.parse_args(flags))}


def records(table: ReportTable) -> list[Entry]:
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def test_summary_adds_up_a_real_run(real_log: Path, entries: list[Entry]) -> None:
    tables = report("summary", real_log)
    intervals = of(entries, "interval")
    (period,) = records(tables["period"])
    assert (period["lines"], period["bad_lines"], period["nodes"]) == (len(entries), 0, "east-1")
    assert (period["starts"], period["stops"]) == (1, 1)
    (activity,) = records(tables["activity"])
    assert activity["users"] == 3
    assert activity["opened"] == activity["closed"] == len(of(entries, "session_closed")) == 3
    assert activity["messages"] == len(of(entries, "message")) == 40
    assert activity["deliveries"] == sum(entry["deliveries"] for entry in intervals)
    assert activity["peak_sessions"] == 3
    assert activity["refused"] == sum(sum(entry["refused"].values()) for entry in intervals) > 0
    reasons = Counter(entry["reason"] for entry in of(entries, "session_closed"))
    assert {row["reason"]: row["sessions"] for row in records(tables["endings"])} == reasons
    for row, name in zip(records(tables["latency"]), HISTOGRAMS, strict=True):
        whole = SparseHistogram.merge(entry.get(name) for entry in intervals)
        assert (row["count"], row["p99_us"]) == (whole.count, whole.percentile(99))
        assert whole.count > 0
    answered = {code for entry in intervals for code in entry["errors"]}
    assert answered
    assert {row["what"] for row in records(tables["trouble"])} >= {*answered, "connection_refused"}
    (machine,) = records(tables["machine"])
    assert machine["rss_max_bytes"] == max(entry["rss_bytes"] for entry in intervals)


def test_timeline_loses_nothing_between_its_steps(real_log: Path, entries: list[Entry]) -> None:
    rows = records(report("timeline", real_log, "--every", "1s")["timeline"])
    intervals = of(entries, "interval")
    for figure, expected in (
        ("messages", sum(entry["messages"] for entry in intervals)),
        ("opened", sum(entry["opened"] for entry in intervals)),
        ("bytes_out", sum(entry["bytes_out"] for entry in intervals)),
        ("errors", sum(sum(entry["errors"].values()) for entry in intervals)),
    ):
        assert sum(row[figure] or 0 for row in rows) == expected, figure
    assert {(b["time"] - a["time"]).total_seconds() for a, b in itertools.pairwise(rows)} <= {1.0}


def test_an_interval_counts_for_its_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    line = {"event": "interval", "node": "a", "messages": 5, "interval_s": 10}
    times = ("2026-11-21T10:00:03Z", "2026-11-21T10:00:13Z", "2026-11-21T10:02:00Z")
    path.write_text("".join(json.dumps({"ts": ts, **line}) + "\n" for ts in times))
    rows = records(report("timeline", path, "--every", "1m")["timeline"])
    assert [(row["time"].minute, row["messages"]) for row in rows] == [(59, 5), (0, 5), (1, 5)]


def test_timeline_of_a_user_is_made_from_the_sessions(real_log: Path, entries: list[Entry]) -> None:
    name = of(entries, "session_opened")[0]["username"]
    rows = records(report("timeline", real_log, filters=Filters(users=(name,)))["timeline"])
    assert sum(row["opened"] or 0 for row in rows) == 1
    (activity,) = records(report("summary", real_log, filters=Filters(users=(name,)))["activity"])
    assert (activity["users"], activity["opened"], activity["peak_sessions"]) == (1, 1, 1)


def test_rooms_count_every_message_where_they_are_logged(real_log: Path, entries: list[Entry]) -> None:
    table = report("rooms", real_log)["rooms"]
    written = Counter(entry["room"] for entry in of(entries, "message"))
    assert {row["room"]: row["messages"] for row in records(table)} == written
    assert any(room.startswith("@") for room in written)
    assert "every room" in table.notes[0]


def test_rooms_say_where_they_know_the_busiest_only(tmp_path: Path, entries: list[Entry]) -> None:
    path = tmp_path / "x.log"
    intervals = of(entries, "interval")
    path.write_text("".join(json.dumps(entry) + "\n" for entry in intervals))
    table = report("rooms", path)["rooms"]
    busiest: Counter[str] = Counter()
    for entry in intervals:
        busiest.update({room["room"]: room["messages"] for room in entry["rooms"]})
    assert {row["room"]: row["messages"] for row in records(table)} == busiest
    assert "ten busiest" in table.notes[0]
    (limited,) = report("rooms", path, "--limit", "1").values()
    assert len(limited.rows) == 1
    assert len(limited.notes) == 2


def test_users_and_sessions_reports_list_logged_sessions(real_log: Path, entries: list[Entry]) -> None:
    closed = {entry["session_id"]: entry for entry in of(entries, "session_closed")}
    users = {row["username"]: row for row in records(report("users", real_log)["users"])}
    assert set(users) == {entry["username"] for entry in closed.values()}
    sessions = {row["session_id"]: row for row in records(report("sessions", real_log)["sessions"])}
    assert set(sessions) == set(closed)
    for key, entry in closed.items():
        one, user = sessions[key], users[entry["username"]]
        for field in ("username", "address", "dialect", "node", "duration_s", "messages_in", "reason"):
            assert one[field] == entry[field]
        assert (user["messages_in"], user["bytes_out"]) == (entry["messages_in"], entry["bytes_out"])
        assert one["began"] < one["ended"]
    assert not report("sessions", real_log, "--open")["sessions"].rows
    quit_ones = records(report("sessions", real_log, "--reason", "quit")["sessions"])
    assert {row["reason"] for row in quit_ones} == {"quit"}


def test_errors_report_lists_kinds_and_messages(real_log: Path, entries: list[Entry]) -> None:
    tables = report("errors", real_log)
    kinds = {(row["kind"], row["what"]): row for row in records(tables["trouble"])}
    answered: Counter[str] = Counter()
    for entry in of(entries, "interval"):
        answered.update(entry["errors"])
    assert {what: row["count"] for (kind, what), row in kinds.items() if kind == "answered"} == answered
    assert all(sum(row["over_time"]) == row["count"] for row in kinds.values())
    warned = [entry for entry in entries if entry["level"] in {"warning", "error"}]
    assert len(tables["lines"].rows) == min(len(warned), 20)


def test_the_peak_adds_up_nodes_and_forgets_those_that_restarted(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    events = [("interval", "a", 5), ("interval", "b", 4), ("server_started", "b", 0), ("interval", "a", 8)]
    lines = [
        {"ts": f"2026-11-21T10:00:0{second}Z", "event": event, "node": node, "sessions": sessions}
        for second, (event, node, sessions) in enumerate(events)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    (activity,) = records(report("summary", path)["activity"])
    assert activity["peak_sessions"] == 9
    assert activity["peak_at"].second == 1


def arguments(name: str, path: Path) -> list[str]:
    if name == "sql":
        return [name, "select * from lines", str(path)]
    return [name, *[str(path)] * (2 if name == "compare" else 1)]


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("name", REPORTS)
def test_no_report_falls_over_hostile_lines_or_lets_them_act(
    name: str, form: list[str], hostile_log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = cli.main([*form, *arguments(name, hostile_log)])
    assert code == (cli.EXIT_USAGE if name == "compare" else cli.EXIT_OK)  # there are no intervals to compare
    shown, said = capfd.readouterr()
    assert all(char.isprintable() or char == "\n" for char in shown + said)
    assert "not log lines" in said or code


@pytest.mark.parametrize("name", REPORTS)
def test_an_empty_log_is_said_to_be_empty(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.log"
    path.touch()
    assert cli.main(arguments(name, path)) in {0, 2}
    shown, said = capfd.readouterr()
    assert shown or said
    assert "Traceback" not in said
