"""A scene that is set: a server, a crowd with its parts, an auditor, and the load.

Knows how a scenario begins and ends. Must not know what happens in between (scenarios/).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos import plan
from chaos.actors.crowd import RobotCrowd
from chaos.actors.load import MessageLoad, ResendPostponed, RoomMoves
from chaos.actors.robot import RobotState
from chaos.audit.auditor import Auditor
from chaos.audit.faults import FaultKind
from chaos.plan import Blow
from chaos.server import ChaosServer


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSize:
    """How much of everything."""

    seed: str = "1"
    receivers: int = 10
    senders: int = 4
    rooms: int = 3
    messages_per_s: float = 20.0
    """Messages a second of each sender."""
    text_bytes: int = 60
    moves_per_s: float = 0.0
    """A second: somebody joins or leaves a room, or closes a conversation."""


@dataclass(slots=True)
class ChaosStage:
    """What a scenario works with."""

    size: ScenarioSize
    server: ChaosServer
    auditor: Auditor
    crowd: RobotCrowd
    load: MessageLoad
    began: float = field(default_factory=time.monotonic)

    def start_load(self, seconds: float = 20.0) -> None:
        """Let everybody in, and the talk begin."""
        arrived = self.crowd.run(lambda: self.crowd.all_live, seconds)
        assert arrived, f"seed {self.size.seed}: not everybody came in"
        self.load.on = True

    def end_server(self, blow: Blow) -> None:
        """End the server, and let everybody notice, with all that it had sent before."""
        self.server.end(blow)
        self.crowd.run(lambda: self.server.process.poll() is not None, 10)
        self.crowd.run(lambda: not any(map(self.crowd.connected, self.crowd.robots)), 5)

    def wait_all_back(self, seconds: float = 30.0) -> bool:
        """Wait until everybody is back; a fault if not within `seconds`."""
        if self.crowd.run(lambda: self.crowd.all_live, seconds):
            return True
        away = [robot.name for robot in self.crowd.robots if robot.state is not RobotState.LIVE]
        self.auditor.report_fault(
            FaultKind.NOT_QUIET, away[0], f"{away} did not come back within {seconds} s"
        )
        return False

    def finish(self, seconds: float = 60.0) -> dict[str, float]:
        """End the talk, audit, stop the server in order; raise what was found, or return the figures."""
        self.load.on = False
        self.crowd.audit(5 if self.auditor.counts else seconds)
        for robot in self.crowd.robots:
            if robot.state is RobotState.LIVE:
                robot.quit()
        self.crowd.run(lambda: not any(map(self.crowd.connected, self.crowd.robots)), 10)
        self.server.stop()
        internal = self.server.entries("internal_error")
        assert not internal, f"seed {self.size.seed}: {internal[0]}"
        self.auditor.raise_if_faults()
        return self.figures()

    def figures(self) -> dict[str, float]:
        """Return what happened, in numbers."""
        auditor = self.auditor
        return {
            "starts": self.server.starts,
            "receivers": len(self.crowd.robots),
            "sent": len(auditor.sends),
            "acknowledged": auditor.acknowledged,
            "deliveries": auditor.deliveries,
            "resumed": auditor.resumed,
            "again": sum(send.again for send in auditor.sends.values()),
            "faults": sum(auditor.counts.values()),
            "seconds": round(time.monotonic() - self.began, 1),
        }


@contextmanager
def chaos_stage(
    folder: Path, size: ScenarioSize, *flags: str, rigged: bool = False, data: Path | None = None
) -> Iterator[ChaosStage]:
    """Set the scene: the cast of `size` over a new server in `folder`; end everything at the end."""
    server = ChaosServer(folder, *flags, rigged=rigged, data=data)
    auditor = Auditor(size.seed)
    crowd = RobotCrowd(auditor, server.port, size.seed)
    try:
        yield ChaosStage(size, server, auditor, crowd, add_cast(crowd, size))
    finally:
        crowd.close()
        server.kill()


def add_cast(crowd: RobotCrowd, size: ScenarioSize) -> MessageLoad:
    """Put the cast of `size` into the crowd, and return the load that it makes."""
    if not size.receivers:
        return MessageLoad(size.seed, size.messages_per_s)
    cast = plan.plan_cast(size.seed, size.receivers, size.senders, size.rooms)
    load = MessageLoad(size.seed, size.messages_per_s, size=size.text_bytes)
    listeners, peers_of = [], {}
    for name, rooms in cast.rooms.items():
        robot = crowd.add(name, rooms)
        if name in cast.speakers:
            load.add_speaker(robot, rooms, cast.speakers[name])
            peers_of[robot] = cast.speakers[name]
        else:
            listeners.append(robot)
    crowd.work += [load, ResendPostponed(crowd.robots)]
    if size.moves_per_s:
        wander = RoomMoves(size.seed, listeners, peers_of, 1 / size.moves_per_s)
        crowd.work.append(lambda now: wander(now) if load.on else None)
    return load
