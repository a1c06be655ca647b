"""Scenarios of `make chaos` with their full sizes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chaos.plan import Blow
from chaos.scenarios import blows, clock, network, outage, people, slow, store, storm
from chaos.stage import ScenarioSize

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Command-line options of `make chaos`."""

    seed: str
    kills: int = 100
    receivers: int = 50
    messages: int = 100_000
    slices: int = 10
    scale: float = 1.0
    """Factor of all other counts and durations."""

    @property
    def full_size(self) -> ScenarioSize:
        return ScenarioSize(
            seed=self.seed, receivers=self.receivers, senders=8, rooms=5, messages_per_s=50, moves_per_s=20
        )

    @property
    def smaller_size(self) -> ScenarioSize:
        return ScenarioSize(
            seed=self.seed,
            receivers=min(self.receivers, 25),
            senders=6,
            rooms=4,
            messages_per_s=40,
            moves_per_s=15,
        )

    @property
    def storm_size(self) -> ScenarioSize:
        return ScenarioSize(seed=self.seed, receivers=10, senders=4, text_bytes=200)

    def scaled(self, count: int) -> int:
        return max(1, round(count * self.scale))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario in full size; `judge` returns the limits that its figures exceed."""

    run: Callable[[Path, Options], Figures]
    about: str
    judge: Callable[[Figures], list[str]] = lambda _: []


SCENARIOS: Final[dict[str, Scenario]] = {
    "kill": Scenario(
        lambda folder, o: blows.run(folder, o.full_size, o.kills, [Blow.KILL]),
        "kill -9 under load, repeatedly",
    ),
    "term": Scenario(
        lambda folder, o: blows.run(folder, o.full_size, max(1, o.kills // 4), [Blow.TERM]),
        "the same with SIGTERM",
    ),
    "mixed": Scenario(
        lambda folder, o: blows.run(folder, o.full_size, max(1, o.kills // 4), list(Blow)), "the same, mixed"
    ),
    "peek": Scenario(
        lambda folder, o: blows.run(folder, o.smaller_size, max(1, o.kills // 10), [Blow.KILL], peeks=True),
        "kill -9 after another program has looked into the data file",
    ),
    "cuts": Scenario(
        lambda folder, o: network.cuts(folder, o.smaller_size, o.scaled(600)), "clients cut off in mid-frame"
    ),
    "trim": Scenario(
        lambda folder, o: network.absences(folder, o.smaller_size, o.scaled(150), 20),
        "clients away for longer than the log reaches back",
    ),
    "takeover": Scenario(
        lambda folder, o: network.take_overs(folder, o.smaller_size, o.scaled(300)),
        "connections that hang, replaced",
    ),
    "slow": Scenario(
        lambda folder, o: slow.run(folder, replace(o.smaller_size, rooms=2, moves_per_s=0), o.scaled(4)),
        "lagging readers that are cut off, replaced, or lose the server",
    ),
    "proxy": Scenario(
        lambda folder, o: network.through_proxy(folder, o.smaller_size, 60 * o.scale),
        "delays, single bytes, stalls, resets",
    ),
    "client": Scenario(
        lambda folder, o: people.run(
            folder, replace(o.smaller_size, receivers=10, messages_per_s=0), max(1, o.kills // 5)
        ),
        "real chat_client.Clients behind the same proxy, and kill -9",
    ),
    "store": Scenario(
        lambda folder, o: store.run(folder, o.smaller_size, list(store.TROUBLES), o.scaled(4)),
        "disk full, file limit, EIO, EROFS, locked",
    ),
    "power": Scenario(
        lambda folder, o: outage.run(folder, o.smaller_size, o.scaled(8)), "the log's unsynced end is lost"
    ),
    "power-full": Scenario(
        lambda folder, o: outage.run(folder, o.smaller_size, o.scaled(4), synced=True),
        "the same with --sync full",
    ),
    "clock": Scenario(
        lambda folder, o: clock.run(folder, o.smaller_size, o.scaled(12), kills=True),
        "the clock is set back",
    ),
    "memory": Scenario(
        lambda folder, o: storm.memory(folder, o.storm_size, o.messages, o.scaled(3)),
        "peak memory of the server in a storm, with a stopped reader",
        storm.exceeded_limits,
    ),
    "latency": Scenario(
        lambda folder, o: storm.latency(folder, o.storm_size, o.slices),
        "latency of the others, with a stopped reader",
        storm.exceeded_limits,
    ),
}
