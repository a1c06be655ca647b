"""`python -m chat_bench.instructions`: how many instructions the server's loop executes for a message.

CPU time differs from run to run by more than a change of the code should; instructions hardly do. The
server runs under Valgrind's Callgrind, which counts them, and gets the same load each time: the next
round begins when all of the one before has arrived. What the loop executes by itself, each second, is
measured and taken off.
"""

import argparse
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from chat_bench.checkouts import OURS, add_server_option, servers
from chat_bench.client_pool import RECEIVE_TIMEOUT_S, ClientPool
from chat_bench.peers.protocols import MARK, ROOM, WireProtocol, text_with
from chat_bench.peers.systems import Greenroom
from chat_bench.process import BenchError, Server, find_program, free_port
from chat_bench.progress import print_progress, run_command
from chat_bench.results import check_writable, write_json
from chat_bench.table import table

TOOLS: Final = ("valgrind", "callgrind_control")
HASH_SEED: Final = "0"
START_TIMEOUT_S: Final = 180.0
"""The server's imports take a while under Callgrind, on a busy machine longer."""
IDLE_S: Final = 3.0
WARM_UP_ROUNDS: Final = 20
REPEATS: Final = 3
RECEIVERS: Final = 100
BURST: Final = 64
LOGINS: Final = 100


class Load(Struct, frozen=True):
    """What is sent in a round, how often, and what is counted in it."""

    title: str
    rounds: int
    units: int
    """In each round."""
    in_flight: int = 1
    """Messages that are sent at once."""


ONE: Final = Load("a private message, one in flight", 200, 1)
MANY: Final = Load(f"a private message, {BURST} in flight", 20, BURST, BURST)
ROOM_ONE: Final = Load(f"a delivery in a room of {RECEIVERS}, one message in flight", 50, RECEIVERS)
ROOM_MANY: Final = Load(
    f"a delivery in a room of {RECEIVERS}, {BURST} in flight", 10, RECEIVERS * BURST, BURST
)
LOGIN: Final = Load("a log-in", 1, LOGINS)
LOADS: Final = (ONE, MANY, ROOM_ONE, ROOM_MANY, LOGIN)

SLOWDOWN: Final = 50
"""How much longer everything takes under Callgrind, about."""

_SLOWED_DOWN: Final = f"""
import sys
import chat_server.app
from chat_server.__main__ import main
for name, module in list(sys.modules.items()):
    if name.startswith("chat_server"):
        for interval in ("TIME_SLICE_S", "LOOK_INTERVAL_S"):
            if hasattr(module, interval):
                setattr(module, interval, getattr(module, interval) * {SLOWDOWN})
sys.exit(main())
"""
"""Starts the server; its time slices are as long in instructions as they are without Callgrind."""

Counts = dict[str, list[float]]
"""Instructions a unit by the load's title; one number for each repeat."""

MAX_GROWTH: Final = 0.05
"""Above a recorded count, before it is a fault: repeats differ by less."""


class Recorded(Struct, frozen=True):
    """The least instructions a unit by the load's title, and what they hold for."""

    environment: str
    counts: dict[str, float]


class Lockstep:
    """A room of clients that write to all or to one other, and log-ins beside them: round after round."""

    def __init__(self, pool: ClientPool, protocol: WireProtocol, pid: int) -> None:
        logins = (protocol.login(f"r{number}", ROOM) for number in range(RECEIVERS))
        self._members = pool.open(logins, protocol.logged_in(ROOM))
        self._pool = pool
        self._protocol = protocol
        self._pid = pid
        self._to_room = protocol.publish(ROOM, text_with(MARK))
        self._to_one = [protocol.direct(f"r{number ^ 1}", text_with(MARK)) for number in range(RECEIVERS)]
        self._logins = 0

    def play(self, load: Load) -> None:
        """Do one round of a load, and wait for all that comes of it."""
        if load is LOGIN:
            for _ in range(load.units):
                self._logins += 1
                name = f"n{self._logins}"
                self._pool.open([self._protocol.login(name, name)], self._protocol.logged_in())
            return
        private = load in {ONE, MANY}
        # A message from each of several clients, all there when the server looks: one batch, however slow
        # the server is. (What one client sends at once may become several: see TIME_SLICE_S in the server.)
        os.kill(self._pid, signal.SIGSTOP)
        try:
            for number, fd in enumerate(self._members[: load.in_flight]):
                self._pool.sockets[fd].send(self._to_one[number] if private else self._to_room)
        finally:
            os.kill(self._pid, signal.SIGCONT)
        self._collect(load.in_flight * (2 if private else RECEIVERS))

    def leave(self) -> None:
        """Close the connections beside the room, so that each repeat finds as many sessions."""
        for fd in self._pool.sockets.keys() - self._members:
            self._pool.sockets.pop(fd).close()

    def _collect(self, due: int) -> None:
        """Read until `due` marks have come."""
        pool = self._pool
        while due > 0:
            events = pool.epoll.poll(RECEIVE_TIMEOUT_S)
            if not events:
                raise BenchError(f"{due} deliveries are missing")
            for fd, _ in events:
                size = pool.sockets[fd].recv_into(pool.buffer)
                if not size:
                    raise BenchError("the server closed a connection")
                due -= pool.buffer.count(MARK, 0, size)
        if due:
            raise BenchError(f"{-due} deliveries too many")


class Counted(Greenroom):
    """Greenroom under Callgrind, which counts nothing until it is asked to."""

    def start(self, folder: Path, ping_interval: float | None = None) -> Server:
        """Start `chat-server`; its log and pings are out of the way, so `ping_interval` (s) is ignored."""
        del ping_interval
        port = free_port()
        program, *flags = self.command(folder, port)
        python = Path(program).with_name("python")  # of the environment that the server is installed in
        quiet = ("--log-interval", "3600", "--ping-interval", "3600")
        command = [
            *("valgrind", "--tool=callgrind", "--separate-threads=yes", "--instr-atstart=no"),
            *(f"--callgrind-out-file={folder}/counts", str(python), "-c", _SLOWED_DOWN, *flags, *quiet),
        ]
        return Server(command, port=port, log=folder / "output", start_timeout_s=START_TIMEOUT_S)


class Counter:
    """Asks Callgrind for what was executed since it was asked before."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder
        self._dumps = 0

    def begin(self) -> None:
        """Begin to count."""
        self._control("--instr=on")

    def read(self) -> int:
        """Return the instructions of the main thread since the last call."""
        self._control("--dump")
        self._dumps += 1
        return dumped(self._folder / f"counts.{self._dumps}-01")

    def _control(self, what: str) -> None:
        command = ["callgrind_control", what, str(self._pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode or "OK" not in done.stdout:
            raise BenchError(f"callgrind_control {what}: {(done.stderr or done.stdout).strip()[-300:]}")


def dumped(path: Path) -> int:
    """Return the total of one file of Callgrind's."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BenchError(f"Callgrind did not write {path.name}: {error.strerror}") from error
    for line in reversed(text.splitlines()):
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise BenchError(f"{path.name} has no totals")


def count(system: Greenroom, loads: Sequence[Load], repeats: int, say: Callable[[str], None]) -> Counts:
    """Run the loads against a server of its own; return what each took."""
    found: Counts = {load.title: [] for load in loads}
    with tempfile.TemporaryDirectory(prefix="chat-instructions-") as folder:
        own = Path(folder)
        with system.start(own) as server, ClientPool(server.port(), system.protocol) as pool:
            clients = Lockstep(pool, system.protocol, server.pid)
            counter = Counter(server.pid, own)
            counter.begin()
            for load in loads:
                for _ in range(min(WARM_UP_ROUNDS, load.rounds)):
                    clients.play(load)
            for number in range(repeats):
                clients.leave()
                pool.idle(IDLE_S)  # until the server has sent the presence of those
                counter.read()
                start = time.monotonic()
                pool.idle(IDLE_S)
                idle_rate = counter.read() / (time.monotonic() - start)
                for load in loads:
                    start = time.monotonic()
                    for _ in range(load.rounds):
                        clients.play(load)
                    taken = counter.read() - idle_rate * (time.monotonic() - start)
                    found[load.title].append(taken / (load.rounds * load.units))
                say(f"repeat {number + 1}: " + ", ".join(f"{one[-1]:,.0f}" for one in found.values()))
    return found


def page(counts: dict[str, Counts]) -> str:
    """Return a table of medians, and of the first server's divided by the others'."""
    names = list(counts)
    ours, *others = names
    rows = [["instructions of the loop for", *names, *(f"{ours} / {other}" for other in others)]]
    for title in counts[ours]:
        medians = {name: statistics.median(counts[name][title]) for name in names}
        cells = [
            f"{medians[name]:,.0f} ({min(counts[name][title]):,.0f}-{max(counts[name][title]):,.0f})"
            for name in names
        ]
        rows.append([title, *cells, *(f"{medians[ours] / medians[other]:.4f}" for other in others)])
    return table(rows)


def environment() -> str:
    """Return what a count depends on besides our code."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("gevent", "greenlet", "msgspec"))
    build = f"Python {platform.python_version()} ({platform.python_compiler()}), {platform.machine()}"
    return f"{build}, SQLite {sqlite3.sqlite_version}, {libraries}"


def least(counts: Counts) -> dict[str, float]:
    """Return the least of the repeats: what is more was disturbed."""
    return {title: round(min(repeats)) for title, repeats in counts.items()}


def grown(found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """Return a sentence for each load that takes more than was recorded, by more than `MAX_GROWTH`."""
    return [
        f"{title}: {found[title]:,.0f} instructions, {found[title] / before - 1:.1%} more than {before:,.0f}"
        for title, before in recorded.items()
        if title in found and found[title] > before * (1 + MAX_GROWTH)
    ]


def compare(found: dict[str, float], path: Path) -> list[str]:
    """Return what has grown since `path` was recorded; nothing where that was in another environment."""
    try:
        recorded = msgspec.json.decode(path.read_bytes(), type=Recorded)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchError(f"{path} cannot be read: {error}") from error
    here = environment()
    if recorded.environment != here:
        print(f"not compared: {path} is of {recorded.environment}, and here is {here}")
        return []
    return grown(found, recorded.counts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Count; return 0, or 1 if it cannot be done here or a recorded count is exceeded."""
    options = _parse(arguments)
    check_writable(options.json)
    check_writable(options.record)
    absent = [tool for tool in TOOLS if find_program(tool) is None]
    if absent:
        raise BenchError(
            f"{', '.join(absent)} is not installed here: on Debian or Ubuntu, apt-get install valgrind"
        )
    os.environ["PYTHONHASHSEED"] = HASH_SEED  # of the servers, which inherit it
    counts: dict[str, Counts] = {}
    for name, program in servers(options.server).items():
        print_progress(f"{name}: {program}")
        counts[name] = count(Counted(program), LOADS, options.repeats, print_progress)
    print(page(counts))
    if options.json:
        write_json(options.json, counts)
    ours = least(counts[OURS])
    if options.record:
        write_json(options.record, Recorded(environment(), ours))
    faults = compare(ours, options.recorded) if options.recorded else []
    for fault in faults:
        print(f"slower: {fault}")
    if faults:
        print(f"if that is what a change is worth: make instructions ARGS='--record {options.recorded}'")
    return 1 if faults else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chat_bench.instructions",
        description="Count the instructions that the server's loop executes for a message, by Callgrind.",
    )
    add_server_option(parser)
    parser.add_argument("--repeats", type=int, default=REPEATS, metavar="N", help=f"(default {REPEATS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all counts go")
    parser.add_argument("--record", type=Path, metavar="FILE", help="where this checkout's counts are kept")
    parser.add_argument(
        "--recorded",
        type=Path,
        metavar="FILE",
        help=f"what was kept: fail where a count is {MAX_GROWTH:.0%} above it, if it is of the same Python",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
