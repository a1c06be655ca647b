"""Lagging readers in a flood, combined with reconnects and server ends.

The server uses one mechanism for lagging and resumed sessions; this tests all combinations.
"""

import random
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from chaos.actors.load import Flood
from chaos.actors.robot import Robot
from chaos.plan import Blow
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage

FLOOD_TIMEOUT_S = 60.0
"""Time for a flood to be acknowledged."""
TEXT_BYTES = 1000
FLOOD_MESSAGES = 5_000
"""Messages of a flood: with TEXT_BYTES more than the kernel buffers for a stopped reader."""
RECEIVE_BUFFER_BYTES = 16 << 10


class Fate(StrEnum):
    """What happens to the lagging readers."""

    READ = "they read on"
    CUT = "they are cut off"
    TAKE_OVER = "they come back on another connection"
    KILL = "the server is killed"
    TERM = "the server is stopped"
    KILL_LATER = "the server is killed while they catch up"
    CUT_LATER = "they are cut off while they catch up"


def run(
    folder: Path, size: ScenarioSize, rounds: int, fates: Sequence[Fate] = tuple(Fate)
) -> dict[str, float]:
    """Apply each fate `rounds` times, in random order; return the figures. Raises `FaultsFound`."""
    rng = random.Random(f"{size.seed}/slow")
    order = list(fates) * rounds
    rng.shuffle(order)
    with chaos_stage(folder, size, "--stalled-timeout", "600", "--outbox-bytes", "65536") as scene:
        slow = [
            scene.crowd.add(f"slow-{n}", ["hall-0", "hall-1"], receive_buffer=RECEIVE_BUFFER_BYTES)
            for n in range(3)
        ]
        scene.start_load()
        speakers = [robot for robot in scene.crowd.robots if "hall-0" in robot.rooms and robot not in slow]
        behind = 0
        for fate in order:
            chosen = rng.sample(slow, rng.randint(1, len(slow)))
            pause = rng.uniform(0, 0.05)
            for robot in chosen:
                scene.crowd.stop_reading(robot)
            flood(scene, speakers)
            behind += sum(scene.auditor.heads["hall-0"] - robot.seqs["hall-0"] for robot in chosen)
            scene.auditor.note_event(f"{', '.join(robot.name for robot in chosen)} behind: {fate}")
            apply_fate(scene, chosen, fate, pause)
            scene.wait_all_back()
            if scene.auditor.counts:
                break
        return scene.finish() | {"rounds": len(order), "behind": behind}


def flood(scene: ChaosStage, speakers: list[Robot]) -> None:
    """Send a flood from three of them, and wait until all is acknowledged."""
    one = Flood(speakers[:3], "hall-0", FLOOD_MESSAGES, TEXT_BYTES)
    scene.crowd.work.append(one)
    scene.crowd.run(lambda: not one.left and not any(map(_has_unacknowledged, speakers[:3])), FLOOD_TIMEOUT_S)
    scene.crowd.work.remove(one)


def apply_fate(scene: ChaosStage, chosen: list[Robot], fate: Fate, pause: float) -> None:
    """Apply the fate, and let them read again."""
    crowd = scene.crowd
    if fate in {Fate.KILL_LATER, Fate.CUT_LATER, Fate.READ}:
        for robot in chosen:
            crowd.resume_reading(robot)
        crowd.run_for(pause)
    match fate:
        case Fate.READ:
            crowd.run(lambda: not any(scene.auditor.behind(robot.name) for robot in chosen), FLOOD_TIMEOUT_S)
        case Fate.CUT | Fate.CUT_LATER:
            for robot in chosen:
                crowd.cut(robot, reset=pause > 0.025)
        case Fate.TAKE_OVER:
            for robot in chosen:
                crowd.take_over(robot)
        case Fate.KILL | Fate.KILL_LATER | Fate.TERM:
            for robot in chosen:
                crowd.resume_reading(robot)
            scene.end_server(Blow.TERM if fate is Fate.TERM else Blow.KILL)
            scene.server.start(wait=False)


def _has_unacknowledged(robot: Robot) -> bool:
    return bool(robot.unacknowledged)
