"""What a tick does, step by step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from chat_server.jobs.ticker import PRESENCE_DELIVERIES, Ticker


class Presence:
    """Presence updates of which each flush makes `step` deliveries, until `due` have been made."""

    def __init__(self, steps: list[str], due: int, step: int) -> None:
        self._steps, self._due, self._step = steps, due, step

    def flush(self) -> int:
        sent = min(self._step, self._due)
        self._due -= sent
        self._steps.append(f"sent {sent}")
        return sent


def tick(due: int, step: int) -> list[str]:
    """Return the steps of one tick."""
    steps: list[str] = []

    def note(name: str) -> Any:
        return SimpleNamespace(tick=lambda: steps.append(name))

    loop = SimpleNamespace(sleep=lambda _: steps.append("others"))
    context = SimpleNamespace(loop=loop, reading_stopped=False)
    hub: Any = SimpleNamespace(
        presence_updates=Presence(steps, due, step),
        backfill=note("backfill"),
        resumable=note("resumable"),
        closings=note("closings"),
        heartbeat=note("heartbeat"),
    )
    connections: Any = SimpleNamespace(context=context, end_hello_timeouts=lambda: steps.append("hellos"))
    Ticker(SimpleNamespace(error=steps.append), hub, connections).tick()
    return steps


OTHER_TASKS = ["heartbeat", "backfill", "resumable", "closings", "hellos"]


def test_presence_pauses_after_each_step_and_ends_after_so_many() -> None:
    assert tick(due=250, step=99) == [
        *("sent 99", "others", "sent 99", "others", "sent 52", "others", "sent 0"),
        *OTHER_TASKS,
    ]
    steps = tick(due=10**6, step=60)
    sent = sum(int(step.split()[1]) for step in steps if step.startswith("sent"))
    assert PRESENCE_DELIVERIES <= sent < PRESENCE_DELIVERIES + 60
    assert steps[-len(OTHER_TASKS) :] == OTHER_TASKS


def test_large_room_is_the_last_of_a_tick() -> None:
    assert tick(due=10_000, step=2000) == ["sent 2000", "others", *OTHER_TASKS]
