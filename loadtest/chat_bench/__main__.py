"""`python -m chat_bench`: the command line."""

import argparse
import datetime as dt
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from chat_bench import machine
from chat_bench.bench import WORKLOADS, Bench, Plan
from chat_bench.client_pool import raise_descriptor_limit
from chat_bench.peers import c_floors, systems
from chat_bench.peers.durable import PEERS
from chat_bench.peers.protocols import TEXT_BYTES
from chat_bench.peers.systems import System
from chat_bench.process import BenchError
from chat_bench.progress import print_progress, run_command
from chat_bench.results import Results, check_writable, write_json
from chat_bench.table import page

SPARE_DESCRIPTORS: Final = 500
"""Of the limit of open files: reserved for what a server opens besides idle connections."""

NAMES: Final = ("c", "greenroom", *(peer.name for peer in PEERS))
"""Of systems, for `--systems`; `c`: the floors."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as in shells: 128 + signal number."""

QUICK: Final = {"rounds": 1, "seconds": 0.5, "idle_clients": 3000, "join_clients": 1000, "ping_interval": 2.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return 0, or 1 if a measurement failed, or 130 if interrupted."""
    options = _parse(arguments)
    if sys.platform != "linux":
        raise BenchError("the bench needs Linux: it reads /proc and uses epoll")
    target = options.json or Path("bench-results") / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.json"
    check_writable(target)
    interrupted = False
    clients = raise_descriptor_limit() - SPARE_DESCRIPTORS
    chosen = {name: getattr(options, name) for name in ("rounds", "seconds") if getattr(options, name)}
    plan = Plan(workloads=options.only, **{**(QUICK if options.quick else {}), **chosen})
    plan = msgspec.structs.replace(
        plan, idle_clients=min(plan.idle_clients, clients), join_clients=min(plan.join_clients, clients)
    )
    results = Results(
        started=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=machine.describe(),
        settings={name: value for name, value in msgspec.structs.asdict(plan).items() if name != "workloads"},
        versions={},
    )
    start = time.monotonic()
    other_load = machine.OtherLoad()
    with tempfile.TemporaryDirectory(prefix="chat-bench-") as folder:
        found = _gather(options.systems, Path(folder), results)
        if not found:
            print_progress(f"nothing to measure; not installed: {', '.join(results.absent)}")
            return 1
        results.versions = {system.name: system.version for system in found}
        results.promises = {system.name: system.promise for system in found}
        try:
            Bench(plan, found, Path(folder), results, print_progress).run()
        except KeyboardInterrupt:
            interrupted = True
            results.notes.append("Interrupted: only what was measured until then.")
    results.notes.append(f"Other programs used {other_load.cores():.1f} cores meanwhile.")
    results.notes += _notes(plan)
    print_progress(f"took {time.monotonic() - start:.0f} s\n")
    print(page(results))
    write_json(target, results)
    print_progress(f"\nwritten to {target}")
    return INTERRUPTED if interrupted else 1 if results.failures else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chat_bench",
        description="Measure what messages cost Greenroom, beside a C loop and other servers.",
        epilog="Workloads: " + "; ".join(f"{key}: {title}" for key, title in WORKLOADS.items()) + ".",
    )
    parser.add_argument("--quick", action="store_true", help="about 40 seconds: shorter, less precise")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds (default 5, quick 1)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="seconds per workload (default 1.5, quick 0.5)"
    )
    parser.add_argument(
        "--only",
        type=_Choice(WORKLOADS),
        default=frozenset(WORKLOADS),
        metavar="a,b",
        help="workloads (default all)",
    )
    parser.add_argument(
        "--systems",
        type=_Choice(NAMES),
        default=frozenset(NAMES),
        metavar="greenroom,redis",
        help=f"systems, out of {', '.join(NAMES)} (default all that are installed)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for all samples (default: one in bench-results/)"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is out of range; give 1 to 1000")
    return number


class _Choice:
    """Argument type: a comma-separated choice of names."""

    def __init__(self, allowed: Sequence[str] | dict[str, str]) -> None:
        self._allowed = tuple(allowed)

    def __call__(self, text: str) -> frozenset[str]:
        chosen = frozenset(part.strip() for part in text.split(","))
        if unknown := chosen.difference(self._allowed):
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(self._allowed)}"
            )
        return chosen


def _gather(names: frozenset[str], folder: Path, results: Results) -> list[System]:
    """Return the installed systems, in the order of the columns; add the missing ones to the results."""
    found: list[System] = []
    frame = systems.typical_frame_bytes()
    if "greenroom" in names:
        ours = systems.locate(systems.Greenroom)
        if ours is None:
            results.absent.append("greenroom (chat-server is not installed)")
        else:
            try:
                frame = systems.measure_frame_bytes(ours, folder)
                found.append(ours)
            except (BenchError, OSError) as error:
                results.failures.append(f"greenroom: {error}")
    floors: list[System] = []
    for floor in c_floors.FLOORS if "c" in names else ():
        try:
            compiled = c_floors.compile_floor(floor, folder, frame)
        except BenchError as error:  # the header of SQLite is missing, say
            results.absent.append(f"{floor.name} ({error})")
            continue
        if compiled is None:
            results.absent.append(f"{floor.name} (no C compiler)")
        else:
            floors.append(compiled)
    found[:0] = floors
    for peer in PEERS:
        if peer.name in names:
            system = systems.locate(peer)
            if system is None:
                results.absent.append(f"{peer.name} ({peer.program} is not on the PATH)")
            else:
                found.append(system)
    return found


def _notes(plan: Plan) -> list[str]:
    """Return the notes that the table needs."""
    notes = ["Greenroom echoes a message to its sender, as the acknowledgement; so do the floors of pairs."]
    if plan.workloads & {"a", "b"}:
        notes += [
            f"N is {System.receivers:,} receivers; every text has {TEXT_BYTES} bytes.",
            "The C loop sends as many bytes as Greenroom, one send(2) for each receiver, and parses nothing.",
        ]
    if "c" in plan.workloads:
        notes.append(f"{System.pair_clients} clients in pairs: a message counts when its receiver has it.")
    if "d" in plan.workloads:
        notes += [
            "Log-ins, joins and idle connections: measured once each.",
            f"{plan.idle_clients:,} idle connections: Greenroom's after all have answered a first ping.",
            f"{plan.join_clients:,} joins of one room: including the presence events that they cause.",
        ]
    return notes


def _terminated(number: int, frame: object) -> NoReturn:
    """Make SIGTERM stop servers and remove folders, as Ctrl-C does."""
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run_command(main))
