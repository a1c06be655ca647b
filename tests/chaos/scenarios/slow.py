"""Readers fall behind in the middle of a flood, and then something else happens to them, or to the server.

Being behind and coming back are one mechanism in the server: here they meet in every combination.
"""

import random
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from chaos.actors.load import Flood
from chaos.actors.robot import Robot
from chaos.plan import Blow
from chaos.stage import Size, Stage, stage

PATIENCE = 60.0
"""Seconds for a flood to pass."""
TEXT = 1000
FLOOD = 5_000
"""Messages of a flood, with TEXT more than the kernel holds for one who stands still."""
BUFFER = 16 << 10


class Fate(StrEnum):
    """What happens to those who are behind."""

    READ = "they read on"
    CUT = "they are cut off"
    TAKE_OVER = "they come back on another connection"
    KILL = "the server is killed"
    TERM = "the server is stopped"
    KILL_LATER = "the server is killed while they catch up"
    CUT_LATER = "they are cut off while they catch up"


def run(folder: Path, size: Size, rounds: int, fates: Sequence[Fate] = tuple(Fate)) -> dict[str, float]:
    """Let each fate come `rounds` times, in random order; raise what is found, or return figures."""
    rng = random.Random(f"{size.seed}/slow")
    order = list(fates) * rounds
    rng.shuffle(order)
    with stage(folder, size, "--stalled-timeout", "600", "--outbox-bytes", "65536") as scene:
        slow = [scene.crowd.add(f"slow-{n}", ["hall-0", "hall-1"], receive_buffer=BUFFER) for n in range(3)]
        scene.open()
        speakers = [robot for robot in scene.crowd.robots if "hall-0" in robot.rooms and robot not in slow]
        behind = 0
        for fate in order:
            chosen = rng.sample(slow, rng.randint(1, len(slow)))
            pause = rng.uniform(0, 0.05)
            for robot in chosen:
                scene.crowd.stop_reading(robot)
            flood(scene, speakers)
            behind += sum(scene.auditor.heads["hall-0"] - robot.seqs["hall-0"] for robot in chosen)
            scene.auditor.note(f"{', '.join(robot.name for robot in chosen)} behind: {fate}")
            suffer(scene, chosen, fate, pause)
            scene.back()
            if scene.auditor.counts:
                break
        return scene.close() | {"rounds": len(order), "behind": behind}


def flood(scene: Stage, speakers: list[Robot]) -> None:
    """Let three of them flood the hall, and wait until all is acknowledged."""
    one = Flood(speakers[:3], "hall-0", FLOOD, TEXT)
    scene.crowd.work.append(one)
    scene.crowd.run(lambda: not one.left and not any(map(_waits, speakers[:3])), PATIENCE)
    scene.crowd.work.remove(one)


def suffer(scene: Stage, chosen: list[Robot], fate: Fate, pause: float) -> None:
    """Carry it out, and let them read again."""
    crowd = scene.crowd
    if fate in {Fate.KILL_LATER, Fate.CUT_LATER, Fate.READ}:
        for robot in chosen:
            crowd.go_on_reading(robot)
        crowd.run_for(pause)
    match fate:
        case Fate.READ:
            crowd.run(lambda: not any(scene.auditor.behind(robot.name) for robot in chosen), PATIENCE)
        case Fate.CUT | Fate.CUT_LATER:
            for robot in chosen:
                crowd.cut(robot, reset=pause > 0.025)
        case Fate.TAKE_OVER:
            for robot in chosen:
                crowd.take_over(robot)
        case Fate.KILL | Fate.KILL_LATER | Fate.TERM:
            for robot in chosen:
                crowd.go_on_reading(robot)
            scene.strike(Blow.TERM if fate is Fate.TERM else Blow.KILL)
            scene.server.start(wait=False)


def _waits(robot: Robot) -> bool:
    return bool(robot.unacknowledged)
