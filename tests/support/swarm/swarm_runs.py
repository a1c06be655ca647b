"""Runs of the real `locust` command with the swarm's locustfile, as a subprocess, and their results.

The command leads its own process group, as in a terminal, so that a signal can go to it alone or to all.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import Scope, Summary
from chat_swarm.results import run_directory
from chat_swarm.results.finished_run import FinishedRun
from support.processes.process import BIN_DIR, clean_environment, eventually

TESTS = Path(__file__).parents[2]
LOCUSTFILE = TESTS.parent / "loadtest" / "bots.py"
RUN_TIMEOUT_S = 90.0
"""Longest duration of a whole run, also on a busy machine."""


def free_port() -> int:
    """Return a free TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@dataclass(frozen=True)
class FinishedSwarm:
    """A finished swarm: exit code, output, and its run directory."""

    code: int
    out: str
    err: str
    path: Path

    @cached_property
    def run(self) -> FinishedRun:
        return run_directory.read_run(self.path)

    @property
    def summary(self) -> Summary:
        return self.run.summary

    @property
    def whole(self) -> Scope:
        """The figures over all seconds."""
        return self.summary.scopes["all"]

    def count(self, name: str) -> int:
        return self.whole.counts.get(name, 0)

    def histogram(self, metric: str, scope: str = "all") -> Histogram:
        return self.run.histograms[metric][scope]

    def count_at_least(self, metric: str, microseconds: float) -> int:
        """Return the number of samples of a latency that were at least so long."""
        return sum(count for value, count in self.histogram(metric).buckets() if value >= microseconds)

    def assert_clean(self) -> None:
        """Assert that the run passed, without any fault, and that all messages were answered."""
        audit = self.summary.audit
        assert self.code == 0, self.err + self.out
        assert audit.passed, audit
        assert not any(audit.counts.values()), audit
        assert audit.checked == self.count("delivered") > 0
        # A bot that is cut with messages in flight abandons them: more often the busier the machine is.
        answered = self.count("acknowledged") + self.count("refused")
        assert answered + self.count("abandoned") == self.count("sent")
        assert answered > 0


class SwarmProcess:
    """A running swarm. Its files are under `folder`, its working directory."""

    def __init__(self, folder: Path, port: int, *flags: str, headless: bool = True, report: str = "") -> None:
        self.folder = folder
        self.report = folder / (report or "report")
        head = ["--headless", "--only-summary"] if headless else []
        head += ["--host", f"127.0.0.1:{port}", "--report", str(self.report)]
        if "--processes" in flags:  # several such swarms may run at once
            own = str(free_port())
            head += ["--master-bind-port", own, "--master-port", own]
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self.process = subprocess.Popen(
                [str(BIN_DIR / "locust"), "-f", str(LOCUSTFILE), *head, *flags],
                cwd=folder,
                env=clean_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def output(self, stream: str = "err") -> str:
        return self._file(stream).read_text()

    def children(self) -> list[int]:
        """Return the bot processes of `--processes`."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.process.pid, number)

    def is_gone(self) -> bool:
        """Return whether its process group is empty."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def wait_finished(self) -> FinishedSwarm:
        """Wait until it has exited; none of its processes may outlive it."""
        code = self.process.wait(RUN_TIMEOUT_S)
        eventually(self.is_gone, "the end of all its processes")
        return FinishedSwarm(code, self.output("out"), self.output("err"), self.report)

    def interrupt(self) -> FinishedSwarm:
        """Interrupt it as Ctrl-C does, and wait."""
        self.signal(signal.SIGINT, group=True)
        return self.wait_finished()

    def kill(self) -> None:
        """Kill all its processes that are left."""
        if not self.is_gone():
            self.signal(signal.SIGKILL, group=True)
        self.process.wait(RUN_TIMEOUT_S)

    def _file(self, stream: str) -> Path:
        return self.folder / f"locust.{stream}"


class LyingProxyProcess:
    """The proxy of support/fakes/lying_proxy.py in front of a server, as a subprocess."""

    def __init__(self, server_port: int, *flags: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.fakes.lying_proxy", "--to", str(server_port), *flags],
            cwd=TESTS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        self.port = int(self._process.stderr.readline().rpartition(":")[2])

    def stop_and_report(self) -> dict[str, Any]:
        """Stop it; return its report: counts, and the single faults in `done`."""
        self._process.terminate()
        out, err = self._process.communicate(timeout=RUN_TIMEOUT_S)
        assert self._process.returncode == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()
