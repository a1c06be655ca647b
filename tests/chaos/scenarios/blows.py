"""The server is killed and stopped in the middle of the load, again and again.

Nothing acknowledged may be lost, nothing repeated, nothing out of order, and `epoch` stays.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from chaos import plan
from chaos.plan import Blow, BlowTiming
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage


def run(
    folder: Path, size: ScenarioSize, count: int, kinds: list[Blow], *, peeks: bool = False
) -> dict[str, float]:
    """Strike `count` times, having looked into the data file before if it `peeks`; raise what is found."""
    with chaos_stage(folder, size) as scene:
        scene.start_load()
        for number, step in enumerate(plan.plan_blows(size.seed, count, kinds), 1):
            wait_for(scene, step.timing)
            scene.crowd.run_for(step.seconds)
            if peeks:
                peek(scene)
            scene.auditor.note_event(f"{step.blow} {number}")
            scene.end_server(step.blow)
            scene.server.start(wait=False)
            if scene.auditor.counts:
                break  # one fault makes the next; the first is what matters
        scene.wait_all_back()
        scene.crowd.run_for(0.2)
        return scene.finish()


def peek(scene: ChaosStage) -> None:
    """Open the data file as another program would, look, close it, and let the talk go on for a moment."""
    with closing(sqlite3.connect(scene.server.data / "greenroom.db", timeout=5)) as other:
        (count,) = other.execute("SELECT count(*) FROM log").fetchone()
    scene.auditor.note_event(f"another program has seen {count} messages in the data file")
    scene.crowd.run_for(0.1)


def wait_for(scene: ChaosStage, timing: BlowTiming) -> None:
    """Wait until it is this moment."""
    match timing:
        case BlowTiming.ALL_BACK:
            scene.wait_all_back()
        case BlowTiming.SOME_BACK:
            scene.crowd.run(lambda: scene.crowd.some_live, 30)
        case BlowTiming.STARTING:
            pass
