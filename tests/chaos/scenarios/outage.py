"""Power loss: the unsynced end of the log is lost, and the machine reboots.

With `--sync normal` `epoch` changes, no session is resumed (seqs may be issued again), and about the last
second is lost. With `--sync full` nothing is lost, and all sessions are resumed.
"""

import time
from pathlib import Path

from chaos.actors.robot import RobotState
from chaos.audit.auditor import Auditor, Frame
from chaos.audit.faults import FaultKind
from chaos.damage import power
from chaos.plan import Blow
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage

MAX_LOSS_S = 3.0
"""Maximum loss: the promise is about one second, and the machine is busy."""


def run(
    folder: Path, size: ScenarioSize, times: int, *, synced: bool = False, first: float = MAX_LOSS_S + 1
) -> dict[str, float]:
    """Lose power `times` times; return the figures. Raises `FaultsFound`."""
    with chaos_stage(folder, size, "--sync", "full" if synced else "normal") as scene:
        scene.start_load()
        lost = commits = gone = 0
        for number in range(times):
            # Long enough for sessions to be synced. If a session is lost together with the end of the
            # previous one, that one holds its name: `name_taken` for a while, as the protocol allows.
            scene.crowd.run_for(first if number == 0 else MAX_LOSS_S)
            scene.auditor.note_event(f"power lost, {number}")
            at = time.monotonic()
            scene.end_server(Blow.KILL)
            taken = power.cut_power(scene.server.data, f"{size.seed}/{number}", synced=synced)
            commits, lost = commits + taken.commits, lost + taken.lost
            if not synced:
                before = new_audit(scene)
                scene.load.on = False  # a private peer may not be back yet, and is unknown then
            scene.server.start(wait=False)
            scene.wait_all_back()
            if not synced:
                gone += check_after(scene, before, at)
                before.raise_if_faults()
            scene.load.on = True
            if scene.auditor.counts:
                break
        scene.crowd.run_for(0.3)
        return scene.finish() | {
            "power cuts": times,
            "unsynced commits": commits,
            "cut off": lost,
            "lost": gone,
        }


def new_audit(scene: ChaosStage) -> Auditor:
    """Continue with a new auditor, as seqs may be issued again; return the previous one."""
    before = scene.auditor
    scene.auditor = scene.crowd.auditor = Auditor(scene.size.seed)
    scene.auditor.note_event("power was lost")
    for robot in scene.crowd.robots:
        robot.auditor = scene.auditor
        robot.must_resume = False
        robot.resumed = None
    return before


def check_after(scene: ChaosStage, before: Auditor, at: float) -> int:
    """Compare the log with what was shown before; return the number of lost acknowledged messages."""
    crowd, auditor = scene.crowd, scene.auditor
    if auditor.epoch == before.epoch:
        auditor.report_fault(FaultKind.EPOCH, "", f"it is still {before.epoch} after a loss of power")
    for robot in crowd.robots:
        if robot.state is RobotState.LIVE and robot.resumed is not False:
            auditor.report_fault(
                FaultKind.EPOCH, robot.name, "it was resumed though seqs may be issued again"
            )
    gone = 0
    readers = {room: robot for robot in crowd.robots for room in robot.rooms if room in robot.seqs}
    for room, reader in readers.items():
        reader.ask_log(room)
    crowd.run(lambda: all(room in reader.complete_logs for room, reader in readers.items()), 20)
    for room, reader in readers.items():
        gone += compare(before, room, reader.pages[room], at, auditor)
    return gone


def compare(before: Auditor, room: str, frames: list[Frame], at: float, after: Auditor) -> int:
    """Report messages that differ from what was shown, and lost ones older than `MAX_LOSS_S`."""
    stored = {frame["from"] + frame.get("ref", "") for frame in frames}
    first_new = min((seq for seq, raw in after.shown(room).items() if raw), default=len(frames) + 1)
    for frame in frames:
        if frame["seq"] >= first_new:
            break
        if (shown := before.frame(room, frame["seq"])) is not None and shown != frame:
            after.report_fault(FaultKind.DIFFERENT, "", f"{shown} was shown, the log has {frame}", room)
    gone = 0
    for send in before.sends.values():
        if send.room != room or not send.acknowledged:
            continue
        if before.id_of(send.author) + send.ref not in stored:
            gone += 1
            if send.acked_at < at - MAX_LOSS_S:
                after.report_fault(
                    FaultKind.ACKED_LOST, send.author, f"{at - send.acked_at:.1f} s old: {send}", room
                )
    return gone
