"""The server is killed and stopped in the middle of the load, again and again.

Nothing acknowledged may be lost, nothing repeated, nothing out of order, and `epoch` stays.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from chaos import plan
from chaos.plan import Blow, Moment
from chaos.stage import Size, Stage, stage


def run(folder: Path, size: Size, count: int, kinds: list[Blow], *, peeks: bool = False) -> dict[str, float]:
    """Strike `count` times, having looked into the data file before if it `peeks`; raise what is found."""
    with stage(folder, size) as scene:
        scene.open()
        for number, step in enumerate(plan.blows(size.seed, count, kinds), 1):
            wait_for(scene, step.moment)
            scene.crowd.run_for(step.seconds)
            if peeks:
                peek(scene)
            scene.auditor.note(f"{step.blow} {number}")
            scene.strike(step.blow)
            scene.server.start(wait=False)
            if scene.auditor.counts:
                break  # one fault makes the next; the first is what matters
        scene.back()
        scene.crowd.run_for(0.2)
        return scene.close()


def peek(scene: Stage) -> None:
    """Open the data file as another program would, look, close it, and let the talk go on for a moment."""
    with closing(sqlite3.connect(scene.server.data / "greenroom.db", timeout=5)) as other:
        (count,) = other.execute("SELECT count(*) FROM log").fetchone()
    scene.auditor.note(f"another program has seen {count} messages in the data file")
    scene.crowd.run_for(0.1)


def wait_for(scene: Stage, moment: Moment) -> None:
    """Wait until it is this moment."""
    match moment:
        case Moment.ALL_BACK:
            scene.back()
        case Moment.SOME_BACK:
            scene.crowd.run(lambda: scene.crowd.some_live, 30)
        case Moment.STARTING:
            pass
