"""Event loop of the robots: sockets, reconnects and network faults on the client side.

Single-threaded; `run` drives everything until a condition holds or its time is over. robot.py handles frames.
"""

import contextlib
import random
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from chaos.actors.robot import Robot, RobotState
from chaos.audit.auditor import Auditor
from chaos.audit.faults import FaultKind

RECONNECT_DELAY_S = (0.02, 0.15)
"""Shortest and longest delay before a reconnect: short, as a run has many."""
_RECEIVE_BYTES = 1 << 17
_KEPT_TAIL_BYTES = 1 << 12
_LINGER_0 = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class RobotConnection:
    """A robot's current connection."""

    sock: socket.socket
    robot: Robot
    connecting: bool = True
    writing: bool = True
    reading: bool = True


@dataclass(slots=True)
class HungConnection:
    """An open connection that its robot has replaced by a new one."""

    sock: socket.socket
    robot: Robot
    since: float
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False


class RobotCrowd:
    """Robots and their connections to `port`; the callables in `work` run at every turn of the loop."""

    def __init__(self, auditor: Auditor, port: int, seed: object) -> None:
        self.auditor = auditor
        self.port = port
        self.robots: list[Robot] = []
        self.work: list[Callable[[float], None]] = []
        self.hung: list[HungConnection] = []
        self.cuts = 0
        self.silence_s = 0.0
        """After this time without a byte, a robot reconnects (0: never)."""
        self.receive_buffer: dict[str, int] = {}
        self._rng = random.Random(f"{seed}/crowd")
        self._selector = selectors.DefaultSelector()
        self._lines: dict[Robot, RobotConnection] = {}
        self._due: dict[Robot, float] = {}
        self._pinged: dict[Robot, float] = {}

    def add(self, name: str, rooms: list[str], *, receive_buffer: int = 0) -> Robot:
        robot = Robot(name, rooms, self.auditor)
        self.receive_buffer[name] = receive_buffer
        self.robots.append(robot)
        self._due[robot] = 0.0
        return robot

    # Conditions.

    @property
    def all_live(self) -> bool:
        return all(robot.state in {RobotState.LIVE, RobotState.GONE} for robot in self.robots)

    @property
    def some_live(self) -> bool:
        return any(robot.state is RobotState.LIVE for robot in self.robots)

    @property
    def quiet(self) -> bool:
        """Whether all robots are connected, all sends acknowledged, and all rooms read to the end."""
        return self.all_live and not any(
            robot.unacknowledged or self.auditor.behind(robot.name)
            for robot in self.robots
            if robot.state is RobotState.LIVE
        )

    # Time.

    def run(self, until: Callable[[], bool], seconds: float) -> bool:
        """Run until the condition holds; return False if it does not within `seconds`."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            self.run_once()
        return True

    def run_for(self, seconds: float) -> None:
        self.run(lambda: False, seconds)

    def run_once(self, timeout: float = 0.005) -> None:
        """Run one turn: due reconnects, `work`, then socket events."""
        now = time.monotonic()
        for robot, due in list(self._due.items()):
            if due <= now:
                self._connect(robot)
        if self.silence_s:
            self._replace_silent(now)
        for work in self.work:
            work(now)
        self._flush_all()
        for key, events in self._selector.select(timeout):
            if isinstance(key.data, HungConnection):
                self._read_hung(key.data)
                continue
            line: RobotConnection = key.data
            if events & selectors.EVENT_WRITE and self._write(line) and line.connecting:
                continue
            if events & selectors.EVENT_READ and self._lines.get(line.robot) is line:
                self._read(line)

    def wait_quiet(self, seconds: float) -> bool:
        """Wait until all is quiet; report faults and return False if not within `seconds`."""
        if self.run(lambda: self.quiet, seconds):
            return True
        for robot in self.robots:
            behind = self.auditor.behind(robot.name)
            if robot.state is not RobotState.GONE and (
                robot.state is not RobotState.LIVE or robot.unacknowledged or behind
            ):
                detail = f"{robot.state}, {len(robot.unacknowledged)} unacknowledged, behind in {behind}"
                self.auditor.report_fault(FaultKind.NOT_QUIET, robot.name, detail)
        return False

    def audit(self, seconds: float = 60.0) -> None:
        """Wait until all is quiet, read every room's log, and compare it with what was shown."""
        self.wait_quiet(seconds)
        readers: dict[str, Robot] = {}
        for robot in self.robots:
            if robot.state is RobotState.LIVE:
                for room in robot.seqs.keys() | robot.closed:
                    readers.setdefault(room, robot)
        for room, robot in readers.items():
            robot.ask_log(room)
        self.run(lambda: all(room in robot.complete_logs for room, robot in readers.items()), seconds)
        for room, robot in readers.items():
            if room not in robot.complete_logs:
                self.auditor.report_fault(
                    FaultKind.NOT_QUIET, robot.name, "its history was not complete in time", room
                )
        self.auditor.compare_with_logs({room: robot.pages[room] for room, robot in readers.items()})

    # Disturbances.

    def cut(self, robot: Robot, *, reset: bool, away: float = 0.0) -> None:
        """End a robot's connection; it reconnects `away` seconds later."""
        line = self._lines.get(robot)
        if line is None:
            return
        if reset:
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self.cuts += 1
        self._drop(line)
        self._due[robot] += away

    def cut_mid_frame(self, robot: Robot, share: float, *, reset: bool) -> None:
        """Send a share of the output buffer, usually ending in mid-frame, then cut."""
        line = self._lines.get(robot)
        if line is not None and robot.out:
            with contextlib.suppress(OSError):
                line.sock.send(bytes(robot.out[: max(1, int(len(robot.out) * share))]))
        self.cut(robot, reset=reset)

    def take_over(self, robot: Robot) -> None:
        """Reconnect while the old connection stays open: unread, if it was not being read."""
        line = self._lines.pop(robot, None)
        if line is None:
            return
        if line.sock in self._selector.get_map():
            self._selector.unregister(line.sock)
        hung = HungConnection(line.sock, robot, time.monotonic())
        self.hung.append(hung)
        if line.reading:
            self._selector.register(line.sock, selectors.EVENT_READ, hung)
        robot.cut()
        self._due[robot] = 0.0

    def stop_reading(self, robot: Robot) -> None:
        line = self._lines[robot]
        line.reading = False
        self._update_selector(line)

    def resume_reading(self, robot: Robot) -> None:
        line = self._lines.get(robot)
        if line is not None:
            line.reading = True
            self._update_selector(line)

    def connected(self, robot: Robot) -> bool:
        """Return whether it has an established connection."""
        line = self._lines.get(robot)
        return line is not None and not line.connecting

    def close(self) -> None:
        """Close all sockets."""
        for line in list(self._lines.values()):
            line.sock.close()
        for hung in self.hung:
            hung.sock.close()
        self._selector.close()
        self._lines.clear()
        self._due.clear()

    # Sockets.

    def _connect(self, robot: Robot) -> None:
        del self._due[robot]
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if size := self.receive_buffer.get(robot.name):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        line = RobotConnection(sock, robot)
        self._lines[robot] = line
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, line)
        sock.connect_ex(("127.0.0.1", self.port))

    def _write(self, line: RobotConnection) -> bool:
        """Write the output buffer; return False if the connection is dead."""
        robot = line.robot
        if line.connecting:
            if line.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._drop(line)
                return False
            line.connecting = False
            robot.heard_at = time.monotonic()
            robot.connected()
        if robot.out:
            try:
                sent = line.sock.send(robot.out)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._drop(line)
                return False
            del robot.out[:sent]
        if line.writing != bool(robot.out):
            line.writing = bool(robot.out)
            self._update_selector(line)
        return True

    def _flush_all(self) -> None:
        for robot, line in list(self._lines.items()):
            if robot.out and not line.connecting and not line.writing:
                self._write(line)

    def _read(self, line: RobotConnection) -> None:
        try:
            data = line.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            line.robot.receive(data, time.monotonic())
        if not data or line.robot.turned_away:
            self._drop(line)

    def _update_selector(self, line: RobotConnection) -> None:
        events = selectors.EVENT_READ * line.reading | selectors.EVENT_WRITE * line.writing
        known = line.sock in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(line.sock)
        elif known:
            self._selector.modify(line.sock, events, line)
        else:
            self._selector.register(line.sock, events, line)

    def _drop(self, line: RobotConnection) -> None:
        if line.sock in self._selector.get_map():
            self._selector.unregister(line.sock)
        line.sock.close()
        del self._lines[line.robot]
        robot = line.robot
        robot.cut()
        if robot.state is RobotState.GONE:
            return
        wait = self._rng.uniform(*RECONNECT_DELAY_S)
        if robot.last_bye is not None:
            if robot.last_bye["reason"] not in {"shutdown", "too_many_connections"}:
                self.auditor.report_fault(FaultKind.REFUSED, robot.name, f"{robot.last_bye}")
            wait += robot.last_bye.get("after") or 0.0
            robot.last_bye = None
        self._due[robot] = time.monotonic() + wait

    def _replace_silent(self, now: float) -> None:
        for robot, line in list(self._lines.items()):
            silent = now - robot.heard_at
            if line.connecting or not line.reading:
                continue
            if silent > self.silence_s:
                self.take_over(robot)
            elif silent > self.silence_s / 2 and now - self._pinged.get(robot, 0.0) > self.silence_s / 2:
                self._pinged[robot] = now
                if robot.state is RobotState.LIVE:
                    robot.ping()

    def _read_hung(self, hung: HungConnection) -> None:
        try:
            data = hung.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            hung.data = (hung.data + data)[-_KEPT_TAIL_BYTES:]
            return
        self._selector.unregister(hung.sock)
        hung.sock.close()
        hung.ended = True


def live(robots: Iterable[Robot]) -> list[Robot]:
    """Return the robots with a live session."""
    return [robot for robot in robots if robot.state is RobotState.LIVE]
