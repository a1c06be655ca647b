"""The time of day is set back an hour, and forward again, in the middle of the load: order goes by `seq`."""

import json
import random
from itertools import pairwise
from pathlib import Path

from chaos.audit.faults import Kind
from chaos.plan import Blow
from chaos.stage import Size, Stage, stage

HOUR = 3600


def run(folder: Path, size: Size, jumps: int, *, kills: bool = False) -> dict[str, float]:
    """Let the clock jump so often, with `kills` the server dying in between; raise what the audit finds."""
    rng = random.Random(f"{size.seed}/clock")
    with stage(folder, size, rigged=True) as scene:
        scene.open()
        scene.crowd.run_for(0.3)
        for number in range(jumps):
            offset = -HOUR if number % 2 == 0 else rng.choice((0, HOUR))
            scene.auditor.note(f"the clock is {offset} s off")
            scene.server.switch("clock", str(offset))
            scene.crowd.run_for(rng.uniform(0.2, 0.6))
            if kills:
                scene.strike(Blow.KILL)
                scene.server.start(wait=False)
                scene.back()
            if scene.auditor.counts:
                break
        if not went_back(scene):
            scene.auditor.fault(Kind.NOT_QUIET, "", "no timestamp went back: the clock was not set")
        return scene.close() | {"jumps": jumps}


def went_back(scene: Stage) -> bool:
    """Tell whether timestamps show the jump, so that the scenario is not in vain."""
    for room in scene.auditor.heads:
        shown = scene.auditor.shown(room)
        times = [json.loads(shown[seq])["timestamp"] for seq in sorted(shown)]
        if any(later < earlier - HOUR / 2 for earlier, later in pairwise(times)):
            return True
    return False
