"""A scene that is set: a server, a crowd with its parts, an auditor, and the load.

Knows how a scenario begins and ends. Must not know what happens in between (scenarios/).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos import plan
from chaos.actors.crowd import Crowd
from chaos.actors.load import Load, Retry, Wander
from chaos.actors.robot import State
from chaos.audit.auditor import Auditor
from chaos.audit.faults import Kind
from chaos.plan import Blow
from chaos.server import ChaosServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    seed: str = "1"
    receivers: int = 10
    senders: int = 4
    rooms: int = 3
    rate: float = 20.0
    """Messages a second of each sender."""
    text: int = 60
    moves: float = 0.0
    """A second: somebody joins or leaves a room, or closes a conversation."""


@dataclass(slots=True)
class Stage:
    """What a scenario works with."""

    size: Size
    server: ChaosServer
    auditor: Auditor
    crowd: Crowd
    load: Load
    began: float = field(default_factory=time.monotonic)

    def open(self, seconds: float = 20.0) -> None:
        """Let everybody in, and the talk begin."""
        arrived = self.crowd.run(lambda: self.crowd.all_live, seconds)
        assert arrived, f"seed {self.size.seed}: not everybody came in"
        self.load.on = True

    def strike(self, blow: Blow) -> None:
        """End the server, and let everybody notice, with all that it had sent before."""
        self.server.strike(blow)
        self.crowd.run(lambda: self.server.process.poll() is not None, 10)
        self.crowd.run(lambda: not any(map(self.crowd.connected, self.crowd.robots)), 5)

    def back(self, seconds: float = 30.0) -> bool:
        """Wait until everybody is back; a fault if not within `seconds`."""
        if self.crowd.run(lambda: self.crowd.all_live, seconds):
            return True
        away = [robot.name for robot in self.crowd.robots if robot.state is not State.LIVE]
        self.auditor.fault(Kind.NOT_QUIET, away[0], f"{away} did not come back within {seconds} s")
        return False

    def close(self, seconds: float = 60.0) -> dict[str, float]:
        """End the talk, audit, stop the server in order; raise what was found, or return the figures."""
        self.load.on = False
        self.crowd.audit(5 if self.auditor.counts else seconds)
        for robot in self.crowd.robots:
            if robot.state is State.LIVE:
                robot.quit()
        self.crowd.run(lambda: not any(map(self.crowd.connected, self.crowd.robots)), 10)
        self.server.stop()
        internal = self.server.entries("internal_error")
        assert not internal, f"seed {self.size.seed}: {internal[0]}"
        self.auditor.verdict()
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
def stage(
    folder: Path, size: Size, *flags: str, rigged: bool = False, data: Path | None = None
) -> Iterator[Stage]:
    """Set the scene: the cast of `size` over a new server in `folder`; end everything at the end."""
    server = ChaosServer(folder, *flags, rigged=rigged, data=data)
    auditor = Auditor(size.seed)
    crowd = Crowd(auditor, server.port, size.seed)
    try:
        yield Stage(size, server, auditor, crowd, fill(crowd, size))
    finally:
        crowd.close()
        server.kill()


def fill(crowd: Crowd, size: Size) -> Load:
    """Put the cast of `size` into the crowd, and return the load that it makes."""
    if not size.receivers:
        return Load(size.seed, size.rate)
    cast = plan.cast(size.seed, size.receivers, size.senders, size.rooms)
    load = Load(size.seed, size.rate, size=size.text)
    listeners, talks = [], {}
    for name, rooms in cast.rooms.items():
        robot = crowd.add(name, rooms)
        if name in cast.speakers:
            load.speaker(robot, rooms, cast.speakers[name])
            talks[robot] = cast.speakers[name]
        else:
            listeners.append(robot)
    crowd.work += [load, Retry(crowd.robots)]
    if size.moves:
        wander = Wander(size.seed, listeners, talks, 1 / size.moves)
        crowd.work.append(lambda now: wander(now) if load.on else None)
    return load
