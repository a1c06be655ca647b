"""Measures how far a starved generator distorts the server's latency. Not a test.

`python tests/e2e/swarm/starved.py --help`. Server on one core, swarm on another; then the same with a busy
loop beside the swarm. Prints the latencies of server and bots in both runs, and their ratios.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "loadtest"), str(TESTS.parent / "server")]

from support.processes.process import ServerProcess  # noqa: E402  after the path
from support.swarm.swarm_runs import LOCUSTFILE, FinishedSwarm  # noqa: E402  as above

METRICS: Final = ("delivery", "ack", "delivery_response", "bot_lag", "loop_lag", "send_lag")
RUN_GRACE_S: Final = 120.0
"""On top of the run's own length."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bots", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=20, help="length of each run, including the ramp")
    parser.add_argument("--rate", type=float, default=0.2, help="messages per second of each bot")
    parser.add_argument("--room-size", type=int, default=20)
    parser.add_argument("--hogs", type=int, default=1, help="busy loops beside the swarm")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the server; below 0 it has priority")
    return parser.parse_args()


def pinned(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


def measure(
    plan: argparse.Namespace, folder: Path, hogs: int, cores: list[int]
) -> tuple[FinishedSwarm, float]:
    """Run the swarm against its own server; return it, and the server's wait for its core in ms."""
    server = ServerProcess(folder, "--rate-messages", "0", "--rate-bytes", "0")
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=pinned(cores[1]))  # noqa: PLW1509
        for _ in range(hogs)
    ]
    try:
        for task in Path(f"/proc/{server.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cores[0]})
            os.setpriority(os.PRIO_PROCESS, int(task.name), plan.nice)
        report = folder / "report"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
                *("--host", f"127.0.0.1:{server.port}", "--report", str(report)),
                *("-u", str(plan.bots), "-r", str(max(1, plan.bots // 4)), "-t", f"{plan.seconds}s"),
                *("--message-rate", str(plan.rate), "--room-size", str(plan.room_size)),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=plan.seconds + RUN_GRACE_S,
            preexec_fn=pinned(cores[1]),
        )
        return FinishedSwarm(done.returncode, done.stdout, done.stderr, report), waited_ms(server.process.pid)
    finally:
        for one in busy:
            one.kill()
            one.wait()
        server.stop()


def waited_ms(pid: int) -> float:
    """Return how long a process has waited on run queues (schedstat), in ms."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[1]) for task in tasks) / 1e6


def line(name: str, *cells: str) -> str:
    return f"{name:<22}" + "".join(f"{cell:>16}" for cell in cells)


def main() -> int:
    plan = options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("This needs two cores: one for the server, one for the swarm.")
        return 2
    runs: list[FinishedSwarm] = []
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as where:
        for hogs in (0, plan.hogs):
            folder = Path(where) / f"hogs-{hogs}"
            folder.mkdir()
            ended, wait = measure(plan, folder, hogs, cores)
            waits.append(wait)
            print(ended.out.strip(), end="\n\n", flush=True)
            ended.run  # noqa: B018  read before the folder is gone
            runs.append(ended)
    print(line("µs, steady seconds", "alone", "starved", "ratio"))
    for metric in METRICS:
        for part in ("p50", "p90", "p99"):
            values = [getattr(run.summary.scopes["steady"].metrics[metric], part) for run in runs]
            ratio = f"{values[1] / max(1, values[0]):.2f}"
            print(line(f"{metric}.{part}", *(f"{value:,}" for value in values), ratio))
    for name in ("delivered", "untimed"):
        print(line(name, *(f"{run.summary.scopes['steady'].counts.get(name, 0):,}" for run in runs)))
    print(line("marked seconds", *(str(run.summary.generator.marked_seconds) for run in runs)))
    print(line("server waited, ms", *(f"{wait:.0f}" for wait in waits)))
    print(line("audit", *("clean" if run.summary.audit.passed else "FAILED" for run in runs)))
    return 0 if all(run.summary.audit.passed for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
