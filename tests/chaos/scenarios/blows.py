"""The server is killed and stopped in the middle of the load, again and again.

Nothing acknowledged may be lost, nothing repeated, nothing out of order, and `epoch` stays.
"""

from pathlib import Path

from chaos import plan
from chaos.plan import Blow, Moment
from chaos.stage import Size, Stage, stage


def run(folder: Path, size: Size, count: int, kinds: list[Blow]) -> dict[str, float]:
    """Strike `count` times; raise what the audit finds, or return the figures."""
    with stage(folder, size) as scene:
        scene.open()
        for number, step in enumerate(plan.blows(size.seed, count, kinds), 1):
            wait_for(scene, step.moment)
            scene.crowd.run_for(step.seconds)
            scene.auditor.note(f"{step.blow} {number}")
            scene.strike(step.blow)
            scene.server.start(wait=False)
            if scene.auditor.counts:
                break  # one fault makes the next; the first is what matters
        scene.back()
        scene.crowd.run_for(0.5)
        return scene.close()


def wait_for(scene: Stage, moment: Moment) -> None:
    """Wait until it is this moment."""
    match moment:
        case Moment.ALL_BACK:
            scene.back()
        case Moment.SOME_BACK:
            scene.crowd.run(lambda: scene.crowd.some_live, 30)
        case Moment.STARTING:
            pass
