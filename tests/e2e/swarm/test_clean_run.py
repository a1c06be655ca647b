"""A run without disturbances: its files, and the consistency of its figures."""

import csv
import json
import re
import statistics
from collections import Counter
from html.parser import HTMLParser

import msgspec
import pytest

from chat_swarm.model.metric_names import FAULTS, METRIC_BY_NAME
from chat_swarm.model.schema import Summary
from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import FinishedSwarm

RARE = {"resume", "catch_up", "held_up"}
"""Latencies without samples in such a run."""


@pytest.fixture(scope="module")
def chat_run(chat_runs: list[FinishedSwarm]) -> FinishedSwarm:
    return chat_runs[0]


def test_clean_run_passes(chat_run: FinishedSwarm) -> None:
    chat_run.assert_clean()
    assert (chat_run.summary.passed, chat_run.summary.exit_code) == (True, 0)
    assert "PASSED" in chat_run.err
    assert not chat_run.summary.errors


def test_run_directory_is_printed_and_complete(chat_run: FinishedSwarm) -> None:
    assert str(chat_run.path / "report.html") in chat_run.err
    latencies = {f"{name}.hgrm" for name in METRIC_BY_NAME if name not in RARE | {"connect", "login"}}
    found = {file.name for file in chat_run.path.iterdir()}
    assert found >= {"summary.json", "timeline.csv", "histograms.json", "report.html", *latencies}
    assert not [name for name in found if name.startswith(".")]


def test_summary_is_valid_and_describes_the_run(chat_run: FinishedSwarm) -> None:
    summary = msgspec.json.decode((chat_run.path / "summary.json").read_bytes(), type=Summary)
    assert summary.target.startswith("127.0.0.1:")
    assert summary.bots == {"ChatterBot": 30}
    assert summary.peak_connected == 30
    assert summary.options["room_size"] == 6
    assert summary.objective is not None
    assert [term.passed for term in summary.objective.terms] == [True, True]
    assert set(summary.audit.counts) == set(FAULTS)


def test_timeline_has_a_row_and_a_phase_for_each_second(chat_run: FinishedSwarm) -> None:
    rows = chat_run.run.rows
    phases = [row.phase for row in rows]
    assert phases == sorted(phases, key=["ramp", "steady", "drain"].index)
    assert {"ramp", "steady"} <= set(phases)  # a drain shorter than the last second has no row
    assert [row.unix for row in rows] == sorted({row.unix for row in rows})
    for name in ("sent", "acknowledged", "delivered", "connects", "received_bytes"):
        assert sum(row.counts.get(name, 0) for row in rows) == chat_run.count(name)
    assert max(row.connected for row in rows) == 30


def test_hgrm_files_hold_all_samples(chat_run: FinishedSwarm) -> None:
    for file in chat_run.path.glob("*.hgrm"):
        text = file.read_text()
        metric = file.stem
        total = float(re.findall(r"TotalCount\s*=\s*([\d.]+)", text)[0])
        assert total == chat_run.summary.scopes[chat_run.summary.headline].metrics[metric].count > 0
    for metric, short in chat_run.whole.metrics.items():
        assert chat_run.histogram(metric).count == short.count > 0


class Links(HTMLParser):
    """Collects the resources that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "src" or (name == "href" and tag == "link"):
                self.found.append(value or "")


def test_report_is_self_contained(chat_run: FinishedSwarm) -> None:
    page = (chat_run.path / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert all(link.startswith("data:") for link in links.found), links.found
    assert chat_run.summary.run in page
    assert "Plotly.newPlot" in page or "Plotly.react" in page


def test_counts_of_sent_and_received_messages_agree(chat_run: FinishedSwarm) -> None:
    timed = chat_run.whole.metrics["delivery"].count
    assert chat_run.count("sent") == chat_run.count("acknowledged")
    # An echo that a late bot read among other lines has no receive time
    assert 0 <= chat_run.count("sent") - chat_run.whole.metrics["ack"].count <= chat_run.count("untimed")
    assert chat_run.count("delivered") == timed + chat_run.count("untimed") + chat_run.count("caught_up")
    assert chat_run.count("foreign") == 0
    assert chat_run.summary.audit.receivers == 30
    assert chat_run.summary.audit.rooms == 5


def test_deliveries_per_second_match_messages_times_members(chat_run: FinishedSwarm) -> None:
    steady = [row for row in chat_run.run.rows if row.phase == "steady"]
    sent = sum(row.counts.get("sent", 0) for row in steady)
    delivered = sum(row.counts.get("delivered", 0) for row in steady)
    # Messages in flight at the first or last boundary are at most those of one second
    assert abs(delivered - 6 * sent) <= 6 * statistics.mean(row.counts.get("sent", 0) for row in steady)


def test_server_log_counts_the_same_messages(chat_run: FinishedSwarm, arena: ServerProcess) -> None:
    run = chat_run.summary.run

    def closed() -> list[dict[str, int]]:
        lines = [line for line in arena.entries("session_closed") if line["username"].startswith(run)]
        return lines if len(lines) == 30 else []

    lines = eventually(closed, "the end of all sessions")
    assert sum(line["messages_in"] for line in lines) == chat_run.count("sent")
    assert sum(line["messages_out"] for line in lines) == chat_run.count("delivered")


def test_deliveries_match_members_at_the_time_of_each_message(
    chat_run: FinishedSwarm, arena: ServerProcess
) -> None:
    # Given the members of each room when each message was stored, in the order of the server's log
    run = chat_run.summary.run
    members = Counter[str]()
    owed = stored = 0
    for line in arena.entries():
        if line["event"] == "session_opened" and line["username"].startswith(run):
            members[f"chat1-{int(line['username'].removeprefix(f'{run}r')) // 6}"] += 1
        elif line["event"] == "message" and line["username"].startswith(run):
            stored += 1
            owed += members[line["room"]]
    # Then exactly these messages were delivered
    assert members == {f"chat1-{number}": 6 for number in range(5)}
    assert stored == chat_run.count("sent")
    assert owed == chat_run.count("delivered") == chat_run.summary.audit.checked


def test_locusts_tables_have_the_same_names_and_counts(chat_run: FinishedSwarm) -> None:
    # Given Locust's own --json, besides our summary, and its own CSV
    entries = json.loads(chat_run.out)  # nothing else is printed there
    with next(chat_run.path.parent.glob("locust_stats.csv")).open() as file:
        lines = list(csv.DictReader(file))
    # Then all three agree
    ours = {
        (METRIC_BY_NAME[name].locust_type, name): short.count
        for name, short in chat_run.whole.metrics.items()
    }
    assert {(one["method"], one["name"]): one["num_requests"] for one in entries} == ours
    assert {
        (one["Type"], one["Name"]): int(one["Request Count"]) for one in lines if one["Name"] != "Aggregated"
    } == ours
    assert not any(int(one["Failure Count"]) for one in lines)


def test_server_process_was_sampled(chat_run: FinishedSwarm, arena: ServerProcess) -> None:
    server = chat_run.summary.server
    assert server is not None
    assert server.pid == arena.process.pid
    assert server.rss_peak_bytes > 1 << 20
    assert server.descriptors_peak > 30
