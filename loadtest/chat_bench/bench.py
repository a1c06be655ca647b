"""Runs a plan: which workload on which system in which order; time budget and failures."""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from chat_bench import machine, workloads
from chat_bench.client_pool import ClientPool
from chat_bench.peers.systems import System
from chat_bench.process import BenchError
from chat_bench.results import Results

IN_FLIGHT: Final = 64
WORKLOADS: Final = {
    "a": "fan-out, one in flight",
    "b": "fan-out, 64 in flight",
    "c": "pairs",
    "d": "idle, joins",
    "e": "one pair, on one CPU",
}

_LETTERS: Final = {
    "_fan_out": frozenset("ab"),
    "_pairs": frozenset("c"),
    "_idle": frozenset("d"),
    "_joins": frozenset("d"),
    "_one_pair": frozenset("e"),
}

_IDLE_PAUSE_S: Final = 1.0
"""Pause before the memory of an idle server without pings is read."""


class Plan(Struct, frozen=True):
    """What to run, and the bounds of all loops."""

    workloads: frozenset[str]
    rounds: int = 5
    seconds: float = 1.5
    """How long each workload is measured in each round."""
    idle_clients: int = 15_000
    join_clients: int = 10_000
    ping_interval: float = 10.0
    """Seconds between pings in the idle test: longer than the log-ins, so that these are measured alone."""
    budget: float = 300.0
    """Seconds; no round begins that would exceed them."""


class Bench:
    """A run of a plan on some systems."""

    def __init__(
        self,
        plan: Plan,
        systems: Sequence[System],
        folder: Path,
        results: Results,
        progress: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._systems = systems
        self._folder = folder
        self._results = results
        self._progress = progress
        self._failed: set[tuple[str, str]] = set()

    def run(self) -> None:
        """Run all; a workload that fails on a system is recorded, and not tried on it again."""
        start = time.monotonic()
        if "d" in self._plan.workloads:
            self._all("idle", self._idle)
            self._all("joins", self._joins)
        longest = 0.0
        for number in range(self._plan.rounds):
            begun = time.monotonic()
            if begun + longest > start + self._plan.budget:
                self._results.notes.append(f"Stopped after {number} rounds: the time budget was used up.")
                self._results.settings["rounds"] = number
                break
            self._round(number)
            longest = max(longest, time.monotonic() - begun)

    def _round(self, number: int) -> None:
        """Run the workloads on each system, beginning with a different one in each round."""
        by = number % len(self._systems)
        turns = [*self._systems[by:], *self._systems[:by]]
        if self._plan.workloads & {"a", "b"}:
            self._all(f"round {number + 1}, fan-out", self._fan_out, turns)
        if "c" in self._plan.workloads:
            self._all(f"round {number + 1}, pairs", self._pairs, turns)
        if "e" in self._plan.workloads:
            self._all(f"round {number + 1}, one pair", self._one_pair, turns)

    def _all(
        self, title: str, work: Callable[[System], str], systems: Sequence[System] | None = None
    ) -> None:
        letters = _LETTERS[work.__name__]
        for system in systems or self._systems:
            key = (system.name, work.__name__)
            if key in self._failed or not letters & system.workloads & self._plan.workloads:
                continue
            try:
                found = work(system)
            except (BenchError, OSError) as error:
                self._failed.add(key)
                self._results.failures.append(f"{system.name}, {title}: {error}")
                found = f"failed: {error}"
            if found:
                self._progress(f"{title}: {system.name}: {found}")

    def _fan_out(self, system: System) -> str:
        """Measure one message in flight, then 64, on one server."""
        said = []
        with system.start(self._folder) as server, ClientPool(server.port(), system.protocol) as pool:
            fan_out = workloads.FanOut(pool, system.protocol, system.receivers)
            for workload, metric, in_flight in (("a", "fanout_1", 1), ("b", "fanout_64", IN_FLIGHT)):
                if workload not in self._plan.workloads:
                    continue
                run = functools.partial(fan_out.run, in_flight=in_flight)
                sample = workloads.measured(server, self._plan.seconds, system.settle, run)
                self._results.add(metric, system.name, sample.cpu_us)
                if in_flight == 1:
                    self._results.add("fanout_bytes", system.name, sample.size)
                said.append(f"{in_flight} in flight {sample.cpu_us:.3f} µs")
        return ", ".join(said)

    def _pairs(self, system: System) -> str:
        """Measure clients that send to each other."""
        sample = self._measure_pairs(system)
        self._results.add("pairs", system.name, sample.cpu_us)
        self._results.add("pairs_rate", system.name, sample.rate)
        return f"{sample.cpu_us:.2f} µs, {sample.rate:,.0f} messages/s"

    def _one_pair(self, system: System) -> str:
        """Measure two clients that send to each other, with server and clients on one CPU.

        On several, where a wake-up of another CPU costs more than all else, the figure is that of the
        scheduler's choice.
        """
        clients, system.pair_clients = system.pair_clients, 2
        try:
            with machine.pinned_to():
                sample = self._measure_pairs(system)
        finally:
            system.pair_clients = clients
        self._results.add("one_pair", system.name, sample.cpu_us)
        return f"{sample.cpu_us:.2f} µs"

    def _measure_pairs(self, system: System) -> workloads.Sample:
        with system.start(self._folder) as server, ClientPool(server.port(), system.protocol) as pool:
            pairs = workloads.Pairs(pool, system.protocol, system.pair_clients)
            return workloads.measured(server, self._plan.seconds, system.settle, pairs.run)

    def _idle(self, system: System) -> str:
        """Measure log-ins, and the memory of an idle connection."""
        interval = self._plan.ping_interval
        with (
            system.start(self._folder, interval if system.pings else None) as server,
            ClientPool(server.port(), system.protocol) as pool,
        ):
            before = server.rss()
            logins, opened = workloads.log_in(server, pool, system.protocol, self._plan.idle_clients)
            if system.pings:
                pool.idle(3 * interval, until=lambda: len(pool.answered) >= len(opened))
                if len(pool.answered) < len(opened):
                    raise BenchError(f"{len(opened) - len(pool.answered)} connections were never pinged")
            else:
                pool.idle(_IDLE_PAUSE_S)
            idle = workloads.Idle(logins, before, server.rss())
        self._results.add("idle_rss", system.name, idle.rss_kib)
        self._results.add("login", system.name, logins.cpu_us)
        self._results.add("login_rate", system.name, logins.rate)
        return f"{idle.rss_kib:.1f} KiB each, {logins.rate:,.0f} log-ins/s of {logins.cpu_us:.0f} µs"

    def _joins(self, system: System) -> str:
        """Measure a join storm, including the presence events that it causes."""
        if not system.many_in_a_room:
            return ""
        with system.start(self._folder) as server, ClientPool(server.port(), system.protocol) as pool:
            _, opened = workloads.log_in(server, pool, system.protocol, self._plan.join_clients)
            pool.idle(system.presence_s)
            sample = workloads.join(server, pool, system.protocol, opened, system.presence_s)
        self._results.add("join", system.name, sample.cpu_us)
        return f"{sample.cpu_us:.0f} µs a join, {sample.rate:,.0f} joins/s"
