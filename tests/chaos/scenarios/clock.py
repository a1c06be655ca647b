"""The system clock jumps back an hour and forward again under load; order depends on `seq` only."""

import json
import random
from itertools import pairwise
from pathlib import Path

from chaos.audit.faults import FaultKind
from chaos.plan import Blow
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage

HOUR_S = 3600


def run(folder: Path, size: ScenarioSize, jumps: int, *, kills: bool = False) -> dict[str, float]:
    """Let the clock jump `jumps` times, with `kills` killing the server in between. Raises `FaultsFound`."""
    rng = random.Random(f"{size.seed}/clock")
    with chaos_stage(folder, size, rigged=True) as scene:
        scene.start_load()
        scene.crowd.run_for(0.3)
        for number in range(jumps):
            offset = -HOUR_S if number % 2 == 0 else rng.choice((0, HOUR_S))
            scene.auditor.note_event(f"the clock is {offset} s off")
            scene.server.switch("clock", str(offset))
            scene.crowd.run_for(rng.uniform(0.2, 0.6))
            if kills:
                scene.end_server(Blow.KILL)
                scene.server.start(wait=False)
                scene.wait_all_back()
            if scene.auditor.counts:
                break
        if not went_back(scene):
            scene.auditor.report_fault(
                FaultKind.NOT_QUIET, "", "no timestamp went back: the clock was not set"
            )
        return scene.finish() | {"jumps": jumps}


def went_back(scene: ChaosStage) -> bool:
    """Return whether timestamps show a jump, i.e. whether the scenario tested anything."""
    for room in scene.auditor.heads:
        shown = scene.auditor.shown(room)
        times = [json.loads(shown[seq])["timestamp"] for seq in sorted(shown)]
        if any(later < earlier - HOUR_S / 2 for earlier, later in pairwise(times)):
            return True
    return False
