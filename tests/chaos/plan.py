"""What is done to the server and to the connections, as data: the same seed gives the same plan.

Knows randomness and nothing of how a step is carried out. Times in a plan are when a step is meant to come;
when it comes is a matter of the machine.
"""

import random
from dataclasses import dataclass
from enum import StrEnum


class Blow(StrEnum):
    """How a server ends."""

    KILL = "kill -9"
    TERM = "SIGTERM"


class Moment(StrEnum):
    """When a blow falls."""

    ALL_BACK = "all are back and talking"
    SOME_BACK = "the first are back"
    STARTING = "the server may still be starting"


@dataclass(frozen=True, slots=True)
class Step:
    """One blow: so long after that moment."""

    blow: Blow
    moment: Moment
    seconds: float


def blows(seed: object, count: int, kinds: list[Blow]) -> list[Step]:
    """Return a plan of `count` blows."""
    rng = random.Random(f"{seed}/blows")
    steps = []
    for _ in range(count):
        moment = rng.choices(list(Moment), weights=(6, 3, 1))[0]
        longest = {Moment.ALL_BACK: 1.0, Moment.SOME_BACK: 0.3, Moment.STARTING: 0.4}[moment]
        steps.append(Step(rng.choice(kinds), moment, round(rng.uniform(0, longest), 3)))
    return steps


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: all names, the rooms of each, and who talks where and to whom."""

    rooms: dict[str, list[str]]
    speakers: dict[str, list[str]]
    """By name: the users it talks to in private (its rooms are those of `rooms`)."""


def cast(seed: object, receivers: int, senders: int, rooms: int) -> Cast:
    """Return who is where: everybody in one to three rooms, senders with a peer or two."""
    rng = random.Random(f"{seed}/cast")
    names = [f"r{number:02}" for number in range(receivers)]
    halls = [f"hall-{number}" for number in range(rooms)]
    where = {name: rng.sample(halls, rng.randint(1, min(3, rooms))) for name in names}
    speakers = {}
    for name in rng.sample(names, min(senders, receivers)):
        others = [other for other in names if other != name]
        speakers[name] = rng.sample(others, min(2, len(others)))
    return Cast(where, speakers)


class End(StrEnum):
    """How the proxy ends a connection."""

    NONE = "never"
    RESET = "RST"
    CLOSE = "FIN"
    HANG = "silence"


@dataclass(frozen=True, slots=True)
class Course:
    """What the proxy does with one connection; bytes are counted over both directions."""

    singles: int
    """So many bytes of each direction go one by one at first."""
    delay: float
    """Seconds that a piece is held at most."""
    stall_at: int
    stall: float
    """Seconds of standing still when `stall_at` bytes have passed."""
    end: End
    end_at: int


def course(seed: object, number: int) -> Course:
    """Return what happens to the connection with this number."""
    rng = random.Random(f"{seed}/course/{number}")
    return Course(
        singles=rng.choice((0, 0, 40, 400)),
        delay=rng.choice((0.0, 0.0, 0.002, 0.03)),
        stall_at=rng.randrange(300, 20_000),
        stall=round(rng.uniform(0.1, 0.8), 3),
        end=rng.choices(list(End), weights=(1, 5, 3, 2))[0],
        end_at=rng.randrange(400, 30_000),
    )
