"""Other programs' load: the arithmetic, and a real program that keeps a core busy."""

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from chat_swarm.model.schema import MachineSample
from chat_swarm.runner import machine_load
from chat_swarm.runner.machine_load import OtherLoadSampler
from support.processes.process import eventually


class Clocks:
    """A machine, its hypervisor and this process, by seconds used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.user = self.steal = self.mine = 0.0
        monkeypatch.setattr(psutil, "cpu_times", self._machine)
        monkeypatch.setattr(psutil.Process, "cpu_times", self._process)
        monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [])  # such as servers of other tests
        monkeypatch.setattr(machine_load, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _machine(self) -> SimpleNamespace:
        return SimpleNamespace(user=self.user, nice=0.0, system=1.0, idle=99.0, irq=0.0, steal=self.steal)

    def _process(self) -> SimpleNamespace:
        return SimpleNamespace(user=self.mine, system=0.5)


def test_sample_excludes_own_and_server_load(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    watched = OtherLoadSampler()
    clocks.now, clocks.user, clocks.mine, clocks.steal = 2.0, 3.0, 1.0, 0.5
    # Three CPU seconds in two, one of them ours, and a quarter core the server's
    assert watched.sample(0.25) == MachineSample(others=0.75, stolen=0.25)
    # Clocks that tick in steps never give a negative load
    clocks.now, clocks.user = 3.0, 3.1
    assert watched.sample(0.25) == MachineSample(others=0.0, stolen=0.0)


@pytest.fixture
def busy() -> Iterator[None]:
    """A program that keeps as much of a core busy as it gets."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield
        process.kill()


def test_sample_includes_a_later_program(request: pytest.FixtureRequest) -> None:
    watched = OtherLoadSampler()
    request.getfixturevalue("busy")

    def seen() -> bool:
        time.sleep(0.1)  # the clocks tick every 10 ms
        return watched.sample(0.0).others > 0.2

    eventually(seen, "another program's share of the machine")
