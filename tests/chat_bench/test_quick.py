"""The quick bench: a small run, how it pins, and what it compares."""

import json
import os
from pathlib import Path

import pytest

from chat_bench import quick
from chat_bench.process import BenchError, find_program
from chat_bench.quick import PinnedGreenroom, PinnedLoop
from chat_bench.results import Results

needs_compiler = pytest.mark.skipif(
    not (find_program("cc") or find_program("gcc")), reason="there is no C compiler here"
)


def results(samples: dict[str, dict[str, list[float]]], *names: str) -> Results:
    return Results(started="", machine={}, settings={}, versions=dict.fromkeys(names, ""), samples=samples)


def test_ratios_are_taken_round_by_round() -> None:
    samples = {
        "pairs": {"greenroom": [10.0, 30.0, 20.0], "other": [10.0, 20.0, 10.0]},
        "login": {"greenroom": [1.0, 1.0], "other": [2.0]},  # a round of it failed
        "fanout_1": {"greenroom": [3.0], "other": [2.0], "C loop": [1.0]},
    }
    rows = quick.ratios(results(samples, "greenroom", "other", "C loop")).splitlines()
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:4]] for row in rows}
    assert cells["200 clients in pairs"] == ["1.500 (1.000-2.000)", "-"]
    assert cells["1 → N, one message in flight"] == ["1.500", "3.000"]
    assert "log-ins" not in cells


def test_nothing_is_compared_without_others() -> None:
    assert quick.ratios(results({"pairs": {"greenroom": [1.0]}}, "greenroom")) == ""


@needs_compiler
def test_a_pinned_server_runs_on_one_cpu(tmp_path: Path) -> None:
    compiler = find_program("cc") or find_program("gcc")
    assert compiler
    loop = PinnedLoop(compiler, tmp_path, 100)
    loop.cpu = min(os.sched_getaffinity(0))
    with loop.start(tmp_path) as server:
        assert server.port()
        assert os.sched_getaffinity(server.pid) == {loop.cpu}


def test_clients_and_servers_get_different_cpus() -> None:
    before = os.sched_getaffinity(0)
    try:
        cpu = quick.pin()
        after = os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, before)
    assert after == before if cpu is None else cpu in before - after


def test_this_checkout_and_another_are_measured_in_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = find_program("chat-server")
    if program is None:
        pytest.skip("chat-server is not installed")
    for kind in (PinnedGreenroom, PinnedLoop):
        monkeypatch.setattr(kind, "receivers", 5)
        monkeypatch.setattr(kind, "settle", 0.0)
        monkeypatch.setattr(kind, "presence_s", 0.0)
    for name, value in (("LOGINS", 10), ("JOIN_CLIENTS", 10), ("PING_INTERVAL_S", 0.2)):
        monkeypatch.setattr(quick, name, value)
    monkeypatch.setattr(quick, "pin", lambda: None)
    target = tmp_path / "quick.json"
    arguments = ["--rounds", "2", "--seconds", "0.05", "--idle-clients", "20", "--json", str(target)]
    assert quick.main([*arguments, "--server", program]) == 0
    shown = capsys.readouterr()
    assert "greenroom divided by" in shown.out
    order = [line.split(": ")[1] for line in shown.err.splitlines() if "pairs: " in line]
    ours = [name for name in order if name != "nats JetStream"]
    assert ours == ["greenroom", "other", "other", "greenroom"]
    assert json.loads(target.read_text())


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is not there"):
        quick.main(["--server", str(tmp_path / "none")])
