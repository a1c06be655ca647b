"""A bad network: cuts in mid-frame, resets, stalls, connections that hang and are replaced.

Every session must be resumed, and nothing lost, repeated or reordered.
"""

import json
import random
import time
from pathlib import Path

from chaos.actors.crowd import RobotCrowd, live
from chaos.audit.faults import FaultKind
from chaos.damage.proxy import ChaosProxy
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage

RECOVERY_TIMEOUT_S = 30.0
"""Time for all clients to reconnect once the network works again."""


def through_proxy(folder: Path, size: ScenarioSize, seconds: float) -> dict[str, float]:
    """Run the load through a faulty proxy for `seconds`."""
    with chaos_stage(folder, size) as scene, ChaosProxy(scene.server.port, size.seed, calm=True) as proxy:
        crowd = scene.crowd
        crowd.port = proxy.port
        scene.auditor.lost_opening = proxy.lost_opening
        scene.start_load()
        crowd.silence_s = 1.2
        proxy.calm = False
        crowd.run(lambda: bool(scene.auditor.counts), seconds)
        proxy.calm = True
        for robot in live(crowd.robots):  # hanging connections would never recover
            crowd.cut(robot, reset=False)
        scene.wait_all_back(RECOVERY_TIMEOUT_S)
        figures = scene.finish()
        return figures | {
            "connections": proxy.connections,
            "stalls": proxy.stalls,
            "conversations behind a lost opening": scene.auditor.excused,
            **{f"ended by {end}": count for end, count in sorted(proxy.ends.items())},
        }


def cuts(folder: Path, size: ScenarioSize, count: int) -> dict[str, float]:
    """Cut connections `count` times, mostly in the middle of a frame."""
    rng = random.Random(f"{size.seed}/cuts")
    with chaos_stage(folder, size) as scene:
        scene.start_load()
        for _ in range(count):
            share, reset, mid_frame = rng.random(), rng.random() < 0.5, rng.random() < 0.7
            chosen, pause = rng.choice(scene.crowd.robots), rng.uniform(0, 0.05)
            if mid_frame and chosen in live(scene.crowd.robots):
                rooms = [room for room in chosen.rooms if room in chosen.seqs and chosen.settled_in(room)]
                if rooms:
                    chosen.say(f"{size.seed} cut {rng.random()}", room=rooms[0])
                scene.crowd.cut_mid_frame(chosen, share, reset=reset)
            else:
                scene.crowd.cut(chosen, reset=reset)
            scene.crowd.run_for(pause)
            if scene.auditor.counts:
                break
        scene.wait_all_back()
        return scene.finish() | {"cuts": scene.crowd.cuts}


def absences(folder: Path, size: ScenarioSize, count: int, kept: int) -> dict[str, float]:
    """Keep listeners away while the server trims its log to `kept` messages a room: they get `gap`s."""
    rng = random.Random(f"{size.seed}/absences")
    with chaos_stage(folder, size, "--retention-messages", str(kept)) as scene:
        scene.auditor.trimmed = set()
        scene.start_load()
        listeners = [robot for robot in scene.crowd.robots if not scene.load.speaks(robot)]
        for _ in range(count):
            chosen, away, pause = rng.choice(listeners), rng.uniform(0.5, 4), rng.uniform(0, 0.3)
            if chosen in live(scene.crowd.robots):
                scene.crowd.cut(chosen, reset=rng.random() < 0.5, away=away)
            scene.crowd.run_for(pause)
            if scene.auditor.counts:
                break
        scene.wait_all_back()
        return scene.finish() | {"cuts": scene.crowd.cuts, "gaps": scene.auditor.gaps}


def take_overs(folder: Path, size: ScenarioSize, count: int) -> dict[str, float]:
    """Resume sessions while the old connection hangs, which must get `bye` `replaced`."""
    rng = random.Random(f"{size.seed}/takeovers")
    with chaos_stage(folder, size) as scene:
        scene.start_load()
        for _ in range(count):
            chosen, pause = rng.choice(scene.crowd.robots), rng.uniform(0, 0.1)
            if chosen in live(scene.crowd.robots):
                scene.crowd.take_over(chosen)
            scene.crowd.run_for(pause)
            if scene.auditor.counts:
                break
        scene.wait_all_back()
        scene.crowd.run(lambda: all(hung.ended for hung in scene.crowd.hung), RECOVERY_TIMEOUT_S)
        check_replaced(scene, scene.crowd)
        return scene.finish() | {"replaced": len(scene.crowd.hung)}


def check_replaced(scene: ChaosStage, crowd: RobotCrowd) -> None:
    """Check that each hung connection was closed, with `bye` `replaced` as its last frame."""
    for hung in crowd.hung:
        last = bytes(hung.data).strip().rpartition(b"\n")[2]
        since = round(time.monotonic() - hung.since, 1)
        if not hung.ended:
            scene.auditor.report_fault(
                FaultKind.NOT_QUIET, hung.robot.name, f"a replaced connection is open after {since} s"
            )
        elif not last or json.loads(last).get("reason") != "replaced":
            scene.auditor.report_fault(
                FaultKind.BAD_FRAME, hung.robot.name, f"the last frame is not `replaced`: {last!r}"
            )
