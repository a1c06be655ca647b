"""Small runs of each workload on the C loop, on Greenroom, and on other installed systems."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from chat_bench import workloads
from chat_bench.__main__ import main
from chat_bench.bench import Bench, Plan
from chat_bench.client_pool import ClientPool
from chat_bench.peers.c_floors import CLoop, CPairs, CPairsSqlite, compile_floor
from chat_bench.peers.durable import PEERS, MqttQos1Protocol
from chat_bench.peers.protocols import MARK, OTHER_MARK, NdjsonProtocol, RawProtocol, text_with
from chat_bench.peers.systems import (
    Greenroom,
    System,
    locate,
    measure_frame_bytes,
    typical_frame_bytes,
)
from chat_bench.process import BenchError, find_program
from chat_bench.results import Results, write_json

PLAN = Plan(
    workloads=frozenset("abcde"), rounds=1, seconds=0.05, idle_clients=20, join_clients=10, ping_interval=0.2
)

needs_compiler = pytest.mark.skipif(
    not (find_program("cc") or find_program("gcc")), reason="there is no C compiler here"
)
needs_greenroom = pytest.mark.skipif(not find_program("chat-server"), reason="chat-server is not installed")


def run(system: System, folder: Path) -> Results:
    system.receivers, system.pair_clients = 5, 6
    system.settle = system.presence_s = 0.0
    results = Results(started="", machine={}, settings={}, versions={system.name: system.version})
    Bench(PLAN, [system], folder, results, lambda _: None).run()
    return results


@needs_compiler
def test_c_loop_sends_each_receiver_the_same_bytes(tmp_path: Path) -> None:
    loop = compile_floor(CLoop, tmp_path, 200)
    assert loop is not None
    loop.receivers = 5
    with loop.start(tmp_path) as server, ClientPool(server.port(), loop.protocol) as pool:
        fan_out = workloads.FanOut(pool, loop.protocol, 5)
        deliveries, received = fan_out.run(0.0, in_flight=64)
    assert deliveries == 64 * 5
    assert received == deliveries * 200


@needs_compiler
def test_bench_measures_the_c_loop(tmp_path: Path) -> None:
    loop = compile_floor(CLoop, tmp_path, 200)
    assert loop is not None
    results = run(loop, tmp_path)
    assert not results.failures
    assert set(results.samples) == {"fanout_1", "fanout_64", "fanout_bytes"}
    assert results.samples["fanout_bytes"]["C loop"] == [200]


@needs_compiler
@pytest.mark.parametrize("floor", [CPairs, CPairsSqlite])
def test_floor_of_pairs_sends_each_message_to_its_sender_and_its_partner(
    floor: type[CPairs], tmp_path: Path
) -> None:
    try:
        system = compile_floor(floor, tmp_path, 200)
    except BenchError as error:
        pytest.skip(str(error))
    assert system is not None
    system.pair_clients = 6
    with system.start(tmp_path) as server, ClientPool(server.port(), system.protocol) as pool:
        messages, received = workloads.Pairs(pool, system.protocol, 6).run(0.0)
        assert received == 200 * (messages + 6)  # each client's echo, beside what its partner sent
        if floor is CPairsSqlite:
            (data_file,) = tmp_path.rglob("floor.db")
            with closing(sqlite3.connect(data_file)) as log:
                assert log.execute("SELECT count(*), min(length(text)) FROM log").fetchone() == (6, 200)
    results = run(system, tmp_path)
    assert not results.failures
    assert set(results.samples) == {"pairs", "pairs_rate", "one_pair"}


def test_each_message_of_a_read_is_acknowledged() -> None:
    protocol = MqttQos1Protocol()
    first, second = (protocol.publish("u1", text_with(mark)) for mark in (MARK, OTHER_MARK))
    second = second.replace(b"u1\x00\x01", b"u1\x5e\x7c")  # a number of two bytes that are marks
    puback = b"\x40\x02\x00\x01"
    assert protocol.acknowledgements(puback + first + second) == [puback, b"\x40\x02\x5e\x7c"]
    with pytest.raises(BenchError, match="two reads"):
        protocol.acknowledgements(first[:-1])


@needs_greenroom
def test_bench_measures_greenroom(tmp_path: Path) -> None:
    ours = locate(Greenroom)
    assert ours is not None
    results = run(ours, tmp_path)
    assert not results.failures
    first = {metric: by_system["greenroom"][0] for metric, by_system in results.samples.items()}
    assert set(first) >= {"fanout_1", "fanout_64", "pairs", "login", "join"}
    # Ten joins may cost less than a tick, if the kernel shows other processes' CPU time only in ticks.
    assert min(first["pairs_rate"], first["login_rate"], first["fanout_bytes"]) > 0


@needs_greenroom
def test_typical_frame_bytes_matches_the_real_frame(tmp_path: Path) -> None:
    ours = locate(Greenroom)
    assert ours is not None
    assert measure_frame_bytes(ours, tmp_path) == pytest.approx(typical_frame_bytes(), abs=4)


@pytest.mark.parametrize("peer", PEERS)
def test_bench_measures_a_peer(peer: type[System], tmp_path: Path) -> None:
    system = locate(peer)
    if system is None:
        pytest.skip(f"{peer.program} is not installed")
    results = run(system, tmp_path)
    assert not results.failures
    wanted = {"pairs", "one_pair"}
    if "a" in peer.workloads:
        wanted |= {"fanout_1", "fanout_64"}
    if "d" in peer.workloads:
        wanted |= {"login"}
    assert wanted <= set(results.samples)


class Broken(System):
    """A server that exits at once."""

    name = "broken"
    program = "false"
    protocol = NdjsonProtocol()

    def command(self, folder: Path, port: int) -> list[str]:
        del folder, port
        return [self.path]


def test_bench_records_a_failing_system_once(tmp_path: Path) -> None:
    system = locate(Broken)
    assert system is not None
    results = Results(started="", machine={}, settings={}, versions={})
    plan = Plan(workloads=frozenset("ac"), rounds=3, seconds=0.05)
    Bench(plan, [system], tmp_path, results, lambda _: None).run()
    assert len(results.failures) == 2
    assert "broken, round 1, fan-out: false ended with 1" in results.failures


def test_open_without_a_listener_raises() -> None:
    with (
        ClientPool(1, RawProtocol(64)) as pool,
        pytest.raises(BenchError, match="connection 1 was not accepted"),
    ):
        pool.open([b"hello"], b"")


@needs_compiler
def test_main_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "results.json"
    assert (
        main(["--systems", "c", "--only", "a", "--seconds", "0.05", "--rounds", "1", "--json", str(target)])
        == 0
    )
    assert "one message in flight" in capsys.readouterr().out
    assert target.exists()


@pytest.mark.parametrize("wrong", [["--only", "x"], ["--systems", "icq"], ["--rounds", "0"]])
def test_main_names_a_wrong_argument(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err


@needs_compiler
@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="this kernel lists no children"
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_bench_stops_its_servers(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chat_bench", "--systems", "c", "--only", "a", "--seconds", "30"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*command, "--json", str(tmp_path / "r.json")], env=environment, text=True
    ) as bench:
        children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
        end = time.monotonic() + 30
        loop = ""
        while not loop and time.monotonic() < end:
            found = [pid for pid in children.read_text().split() if command_line(pid).endswith("/C-loop")]
            loop = found[0] if found else ""
            time.sleep(0.01)
        assert loop
        bench.send_signal(number)
        assert bench.wait(20) == 130
    assert "C-loop" not in command_line(loop)
    assert not list(tmp_path.glob("chat-bench-*"))


def command_line(pid: str) -> str:
    """Return a process's program; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return ""


def test_results_go_through_a_link_and_keep_the_mode(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("old")
    real.chmod(0o600)
    (tmp_path / "link.json").symlink_to(real)
    write_json(tmp_path / "link.json", {"a": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert (msgspec.json.decode(real.read_bytes()), real.stat().st_mode & 0o777) == ({"a": 1}, 0o600)


@pytest.mark.parametrize("module", ["chat_bench", "chat_bench.quick", "chat_bench.instructions"])
@pytest.mark.parametrize(("target", "why"), [("", "Is a directory"), ("file/x.json", "File exists")])
def test_results_that_cannot_be_written_are_refused_before_measuring(
    tmp_path: Path, module: str, target: str, why: str
) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", module, "--json", str(tmp_path / target)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("chat_bench: cannot write ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
