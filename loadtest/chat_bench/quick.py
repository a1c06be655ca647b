"""`python -m chat_bench.quick`: the hot path in a minute, servers on one CPU and clients on another.

Beside the C loop, NATS JetStream if it is installed, and the servers of other checkouts: each has its turn in
each round, and what is compared is measured within one round.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from chat_bench import machine, workloads
from chat_bench.bench import Bench, Plan
from chat_bench.checkouts import OURS, add_server_option, servers
from chat_bench.client_pool import ClientPool, raise_descriptor_limit
from chat_bench.peers.c_floors import CLoop
from chat_bench.peers.durable import JetStream
from chat_bench.peers.systems import Greenroom, System, typical_frame_bytes
from chat_bench.process import BenchError, Server, find_program
from chat_bench.progress import print_progress, run_command
from chat_bench.results import METRICS, Results, check_writable, write_json
from chat_bench.table import measurements, table

ROUNDS: Final = 3
MEASURED_S: Final = 1.0
"""How long each workload is measured in each round."""
LOGINS: Final = 1000
"""In each round."""
IDLE_CLIENTS: Final = 3000
JOIN_CLIENTS: Final = 1000
PING_INTERVAL_S: Final = 2.0
SPARE_DESCRIPTORS: Final = 500
COMPARED: Final = ("fanout_1", "fanout_64", "pairs", "login", "join", "idle_rss")


class Pinned(System):
    """A system that runs on one CPU only."""

    cpu: int | None = None

    def start(self, folder: Path, ping_interval: float | None = None) -> Server:
        """Start it there; all its threads inherit that. `ping_interval`: as in `System.start`."""
        if self.cpu is None:
            return super().start(folder, ping_interval)
        with machine.pinned_to(self.cpu):
            return super().start(folder, ping_interval)


class PinnedLoop(Pinned, CLoop):
    """The C loop."""


class PinnedJetStream(Pinned, JetStream):
    """The peer with the same promise."""


class PinnedGreenroom(Pinned, Greenroom):
    """A checkout's server."""

    def __init__(self, name: str, program: str) -> None:
        super().__init__(program)
        self.name = name


def pin() -> int | None:
    """Keep this process to one CPU; return another one for the servers, None if there is only one."""
    mine, *others = sorted(os.sched_getaffinity(0), reverse=True)
    if not others:
        return None
    os.sched_setaffinity(0, {mine})
    return others[-1]


def run(
    plan: Plan, found: Sequence[System], folder: Path, results: Results, say: Callable[[str], None]
) -> None:
    """Measure memory and joins once, all else in each round, with another system first each time."""
    Bench(
        msgspec.structs.replace(plan, workloads=frozenset("d"), rounds=0), found, folder, results, say
    ).run()
    one_round = msgspec.structs.replace(plan, workloads=frozenset("abc"), rounds=1)
    for number in range(plan.rounds):
        by = number % len(found)
        turns = [*found[by:], *found[:by]]
        Bench(one_round, turns, folder, results, say).run()
        for system in turns:
            if "d" in system.workloads:
                with system.start(folder) as server, ClientPool(server.port(), system.protocol) as pool:
                    logins, _ = workloads.log_in(server, pool, system.protocol, LOGINS)
                results.add("login", system.name, logins.cpu_us)


def ratios(results: Results) -> str:
    """Return our figures divided by the others': medians over rounds, with ranges; empty without others."""
    others = [name for name in results.versions if name != OURS]
    rows = []
    for metric in COMPARED:
        by_system = results.samples.get(metric, {})
        cells = [_ratio(by_system.get(OURS, []), by_system.get(other, [])) for other in others]
        if any(cell != "-" for cell in cells):
            rows.append([METRICS[metric].title.split(": ")[0], *cells])
    return table([[f"{OURS} divided by", *others], *rows]) if rows else ""


def _ratio(ours: list[float], others: list[float]) -> str:
    if not ours or len(ours) != len(others) or 0 in others:
        return "-"
    found = [one / other for one, other in zip(ours, others, strict=True)]
    median = f"{statistics.median(found):.3f}"
    return median if len(found) == 1 else f"{median} ({min(found):.3f}-{max(found):.3f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 1 if something could not be measured."""
    options = _parse(arguments)
    check_writable(options.json)
    if sys.platform != "linux":
        raise BenchError("this needs Linux: it reads /proc and waits with epoll")
    clients = raise_descriptor_limit() - SPARE_DESCRIPTORS
    plan = Plan(
        workloads=frozenset("abcd"),
        rounds=options.rounds,
        seconds=options.seconds,
        idle_clients=min(options.idle_clients, clients),
        join_clients=min(JOIN_CLIENTS, clients),
        # Longer than the log-ins, so that these are measured alone.
        ping_interval=max(PING_INTERVAL_S, options.idle_clients / 1500),
    )
    start = time.monotonic()
    others = machine.OtherLoad()
    described = machine.describe()
    cpu = pin()
    with tempfile.TemporaryDirectory(prefix="chat-bench-") as name:
        folder = Path(name)
        ours = [PinnedGreenroom(name, program) for name, program in servers(options.server).items()]
        found: list[Pinned] = [*ours]
        compiler = find_program("cc") or find_program("gcc")
        if compiler is not None:
            found.append(PinnedLoop(compiler, folder, typical_frame_bytes()))
        peer = find_program(PinnedJetStream.program)
        if peer is not None:
            found.append(PinnedJetStream(peer))
        for system in found:
            system.cpu = cpu
        results = Results(
            started="",
            machine=described,
            settings={},
            versions={system.name: system.version for system in found},
        )
        run(plan, found, folder, results, print_progress)
    print(measurements(results))
    print(f"\n{ratios(results)}\n")
    print(f"- Rounds: {plan.rounds} of {plan.seconds:g} s; {plan.idle_clients:,} idle connections.")
    pinned = (
        "not pinned: there is one CPU only" if cpu is None else f"servers on CPU {cpu}, clients on another"
    )
    print(f"- {', '.join(f'{key} {value}' for key, value in described.items())}; {pinned}.")
    print(f"- Other programs kept {others.cores():.1f} cores busy; took {time.monotonic() - start:.0f} s.")
    for failure in results.failures:
        print(f"- Failed: {failure}.")
    if options.json:
        write_json(options.json, results)
    return 1 if results.failures else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chat_bench.quick",
        description="Measure the hot path in a minute, beside the C loop and servers of other checkouts.",
    )
    add_server_option(parser)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"(default {ROUNDS})")
    parser.add_argument(
        "--seconds",
        type=float,
        default=MEASURED_S,
        metavar="S",
        help=f"of each measurement (default {MEASURED_S:g})",
    )
    parser.add_argument(
        "--idle-clients",
        type=int,
        default=IDLE_CLIENTS,
        metavar="N",
        help=f"connections whose memory is measured (default {IDLE_CLIENTS})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all samples go")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
