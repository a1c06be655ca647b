"""Setup and teardown of a scenario: server, clients, auditor and load."""

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
    """Size of a scenario."""

    seed: str = "1"
    receivers: int = 10
    senders: int = 4
    rooms: int = 3
    messages_per_s: float = 20.0
    """Of each sender."""
    text_bytes: int = 60
    moves_per_s: float = 0.0
    """Joins, leaves and closed conversations per second."""


@dataclass(slots=True)
class ChaosStage:
    """The parts of a running scenario."""

    size: ScenarioSize
    server: ChaosServer
    auditor: Auditor
    crowd: RobotCrowd
    load: MessageLoad
    began: float = field(default_factory=time.monotonic)

    def start_load(self, seconds: float = 20.0) -> None:
        """Connect all clients and start the load."""
        arrived = self.crowd.run(lambda: self.crowd.all_live, seconds)
        assert arrived, f"seed {self.size.seed}: not all clients connected"
        self.load.on = True

    def end_server(self, blow: Blow) -> None:
        """End the server and wait until all clients have read everything and lost their connections."""
        self.server.end(blow)
        self.crowd.run(lambda: self.server.process.poll() is not None, 10)
        self.crowd.run(lambda: not any(map(self.crowd.connected, self.crowd.robots)), 5)

    def wait_all_back(self, seconds: float = 30.0) -> bool:
        """Wait until all clients are back; report a fault if not within `seconds`."""
        if self.crowd.run(lambda: self.crowd.all_live, seconds):
            return True
        away = [robot.name for robot in self.crowd.robots if robot.state is not RobotState.LIVE]
        self.auditor.report_fault(
            FaultKind.NOT_QUIET, away[0], f"{away} did not come back within {seconds} s"
        )
        return False

    def finish(self, seconds: float = 60.0) -> dict[str, float]:
        """Stop the load, audit, stop the server; return the figures. Raises `FaultsFound`."""
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
        """Return the scenario's figures by name."""
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
    """Run a new server in `folder` with the clients of `size`; stop everything at the end."""
    server = ChaosServer(folder, *flags, rigged=rigged, data=data)
    auditor = Auditor(size.seed)
    crowd = RobotCrowd(auditor, server.port, size.seed)
    try:
        yield ChaosStage(size, server, auditor, crowd, add_cast(crowd, size))
    finally:
        crowd.close()
        server.kill()


def add_cast(crowd: RobotCrowd, size: ScenarioSize) -> MessageLoad:
    """Add the clients of `size` to the crowd, and return their load."""
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
