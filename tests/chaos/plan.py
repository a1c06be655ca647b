"""Random plans of faults and load, as data: the same seed gives the same plan.

Planned times are nominal; the real ones depend on the machine.
"""

import random
from dataclasses import dataclass
from enum import StrEnum


class Blow(StrEnum):
    """How the server is ended."""

    KILL = "kill -9"
    TERM = "SIGTERM"


class BlowTiming(StrEnum):
    """When the server is ended."""

    ALL_BACK = "all clients are back and sending"
    SOME_BACK = "the first clients are back"
    STARTING = "the server may still be starting"


@dataclass(frozen=True, slots=True)
class PlannedBlow:
    """One planned end of the server: `seconds` after `timing`."""

    blow: Blow
    timing: BlowTiming
    seconds: float


def plan_blows(seed: object, count: int, kinds: list[Blow]) -> list[PlannedBlow]:
    """Return a plan of `count` blows."""
    rng = random.Random(f"{seed}/blows")
    steps = []
    for _ in range(count):
        timing = rng.choices(list(BlowTiming), weights=(6, 3, 1))[0]
        longest = {BlowTiming.ALL_BACK: 1.0, BlowTiming.SOME_BACK: 0.3, BlowTiming.STARTING: 0.4}[timing]
        steps.append(PlannedBlow(rng.choice(kinds), timing, round(rng.uniform(0, longest), 3)))
    return steps


@dataclass(frozen=True, slots=True)
class Cast:
    """All clients by name: their rooms, and the peers of those that send."""

    rooms: dict[str, list[str]]
    speakers: dict[str, list[str]]
    """Private peers of each sender, by name (its rooms are in `rooms`)."""


def plan_cast(seed: object, receivers: int, senders: int, rooms: int) -> Cast:
    """Return the clients: each in one to three rooms, senders with up to two private peers."""
    rng = random.Random(f"{seed}/cast")
    names = [f"r{number:02}" for number in range(receivers)]
    room_names = [f"hall-{number}" for number in range(rooms)]
    where = {name: rng.sample(room_names, rng.randint(1, min(3, rooms))) for name in names}
    speakers = {}
    for name in rng.sample(names, min(senders, receivers)):
        others = [other for other in names if other != name]
        speakers[name] = rng.sample(others, min(2, len(others)))
    return Cast(where, speakers)


class ConnectionEnd(StrEnum):
    """How the proxy ends a connection."""

    NONE = "never"
    RESET = "RST"
    CLOSE = "FIN"
    HANG = "silence"


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """Faults of one proxied connection; bytes are counted over both directions."""

    single_bytes: int
    """The first bytes of each direction are forwarded one by one."""
    max_delay_s: float
    """Maximum delay of a piece."""
    stall_at_bytes: int
    stall_s: float
    """Pause after `stall_at_bytes`."""
    end: ConnectionEnd
    end_at_bytes: int


def plan_connection(seed: object, number: int) -> ConnectionPlan:
    """Return the faults of the n-th connection."""
    rng = random.Random(f"{seed}/course/{number}")
    return ConnectionPlan(
        single_bytes=rng.choice((0, 0, 40, 400)),
        max_delay_s=rng.choice((0.0, 0.0, 0.002, 0.03)),
        stall_at_bytes=rng.randrange(300, 20_000),
        stall_s=round(rng.uniform(0.1, 0.8), 3),
        end=rng.choices(list(ConnectionEnd), weights=(1, 5, 3, 2))[0],
        end_at_bytes=rng.randrange(400, 30_000),
    )
