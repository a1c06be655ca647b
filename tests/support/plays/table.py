"""The table of steps, and what a step is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from support.plays.client import Client
    from support.plays.connection import Connection
    from support.plays.play import Play


class Turn(NamedTuple):
    """What a step is given: one of the clients, which it may use or not, and its source of randomness."""

    play: Play
    client: Client
    rng: Random


class Step(NamedTuple):
    """A step by its name; it returns what it has done in words, or None if it does not apply now."""

    name: str
    weight: float
    act: Callable[[Turn], str | None]


STEPS: Final[dict[str, Step]] = {}


def step(weight: float) -> Callable[[Callable[[Turn], str | None]], Any]:
    """Add a function to the table."""

    def add(act: Callable[[Turn], str | None]) -> Any:
        STEPS[act.__name__] = Step(act.__name__, weight, act)
        return act

    return add


def some(rng: Random, *choices: tuple[Any, float]) -> Any:
    """Return one of some values with weights."""
    (found,) = rng.choices([value for value, _ in choices], [weight for _, weight in choices])
    return found


def open_link(client: Client) -> Connection | None:
    """Return the connection of a client that it may send on."""
    link = client.link
    return None if link is None or link.closed else link
