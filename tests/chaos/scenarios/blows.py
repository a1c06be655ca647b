"""The server is killed or stopped under load, repeatedly.

No acknowledged message may be lost, repeated or reordered, and `epoch` must not change.
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
    """End the server `count` times, with `peeks` after reading its data file. Raises `FaultsFound`."""
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
                break  # faults cause others; the first one matters
        scene.wait_all_back()
        scene.crowd.run_for(0.2)
        return scene.finish()


def peek(scene: ChaosStage) -> None:
    """Read the data file as another program would, then continue the load briefly."""
    with closing(sqlite3.connect(scene.server.data / "greenroom.db", timeout=5)) as other:
        (count,) = other.execute("SELECT count(*) FROM log").fetchone()
    scene.auditor.note_event(f"another program has read {count} messages in the data file")
    scene.crowd.run_for(0.1)


def wait_for(scene: ChaosStage, timing: BlowTiming) -> None:
    """Wait for the condition of `timing`."""
    match timing:
        case BlowTiming.ALL_BACK:
            scene.wait_all_back()
        case BlowTiming.SOME_BACK:
            scene.crowd.run(lambda: scene.crowd.some_live, 30)
        case BlowTiming.STARTING:
            pass
