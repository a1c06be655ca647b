"""The closed list of scenarios with their full sizes: what `make chaos` runs.

Knows how much of everything is enough. Must not know how a scenario works.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chaos.plan import Blow
from chaos.scenarios import blows, clock, network, outage, people, slow, store, storm
from chaos.stage import Size

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the person who runs it may choose."""

    seed: str
    kills: int = 100
    receivers: int = 50
    messages: int = 100_000
    slices: int = 10
    scale: float = 1.0
    """Of every other count and duration."""

    @property
    def size(self) -> Size:
        return Size(seed=self.seed, receivers=self.receivers, senders=8, rooms=5, rate=50, moves=20)

    @property
    def smaller(self) -> Size:
        return Size(seed=self.seed, receivers=min(self.receivers, 25), senders=6, rooms=4, rate=40, moves=15)

    @property
    def storm(self) -> Size:
        return Size(seed=self.seed, receivers=10, senders=4, text=200)

    def many(self, count: int) -> int:
        return max(1, round(count * self.scale))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario in full size; `judge` finds what its figures are not allowed to be."""

    run: Callable[[Path, Options], Figures]
    about: str
    judge: Callable[[Figures], list[str]] = lambda _: []


SCENARIOS: Final[dict[str, Scenario]] = {
    "kill": Scenario(
        lambda folder, o: blows.run(folder, o.size, o.kills, [Blow.KILL]),
        "kill -9 under load, again and again",
    ),
    "term": Scenario(
        lambda folder, o: blows.run(folder, o.size, max(1, o.kills // 4), [Blow.TERM]),
        "the same with SIGTERM",
    ),
    "mixed": Scenario(
        lambda folder, o: blows.run(folder, o.size, max(1, o.kills // 4), list(Blow)), "the same, mixed"
    ),
    "peek": Scenario(
        lambda folder, o: blows.run(folder, o.smaller, max(1, o.kills // 10), [Blow.KILL], peeks=True),
        "kill -9 after another program has looked into the data file",
    ),
    "cuts": Scenario(
        lambda folder, o: network.cuts(folder, o.smaller, o.many(600)), "clients cut off in mid-frame"
    ),
    "trim": Scenario(
        lambda folder, o: network.absences(folder, o.smaller, o.many(150), 20),
        "clients away for longer than the log reaches back",
    ),
    "takeover": Scenario(
        lambda folder, o: network.take_overs(folder, o.smaller, o.many(300)),
        "connections that hang, replaced",
    ),
    "slow": Scenario(
        lambda folder, o: slow.run(folder, replace(o.smaller, rooms=2, moves=0), o.many(4)),
        "readers who fall behind, and are cut off, taken over or left by the server",
    ),
    "proxy": Scenario(
        lambda folder, o: network.through_proxy(folder, o.smaller, 60 * o.scale),
        "delays, single bytes, standstills, resets",
    ),
    "client": Scenario(
        lambda folder, o: people.run(folder, replace(o.smaller, receivers=10, rate=0), max(1, o.kills // 5)),
        "real chat_client.Clients behind the same proxy, and kill -9",
    ),
    "store": Scenario(
        lambda folder, o: store.run(folder, o.smaller, list(store.TROUBLES), o.many(4)),
        "disk full, file limit, EIO, EROFS, locked",
    ),
    "power": Scenario(
        lambda folder, o: outage.run(folder, o.smaller, o.many(8)), "the log's unsynced end is lost"
    ),
    "power-full": Scenario(
        lambda folder, o: outage.run(folder, o.smaller, o.many(4), synced=True), "the same with --sync full"
    ),
    "clock": Scenario(
        lambda folder, o: clock.run(folder, o.smaller, o.many(12), kills=True), "the time of day set back"
    ),
    "memory": Scenario(
        lambda folder, o: storm.memory(folder, o.storm, o.messages, o.many(3)),
        "the server's peak in a storm, with a reader that stands still",
        storm.judged,
    ),
    "latency": Scenario(
        lambda folder, o: storm.latency(folder, o.storm, o.slices),
        "the others' lateness, with a reader that stands still",
        storm.judged,
    ),
}
