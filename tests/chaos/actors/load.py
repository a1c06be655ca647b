"""Load generators of the robots: message texts, targets and times.

Texts and their order per sender follow from the seed alone; the achieved rate depends on the machine.
"""

import random
import time
from collections.abc import Iterator

from chaos.actors.robot import MAX_UNACKNOWLEDGED, Robot, RobotState

_SAMPLE_WORDS = (
    "plain",
    'quo"te',
    "back\\slash",
    "ünïcödé",
    "日本",
    "line\nbreak",
    "tab\there",
    "😀",
    "{}",
    "end",
)


class MessageLoad:
    """Sends `rate` messages per second from each live sender."""

    def __init__(self, seed: object, rate: float, *, size: int = 60) -> None:
        self.rate = rate
        self.size = size
        self.on = False
        """Whether messages are sent: from the time when all are connected until the audit."""
        self._seed = seed
        self._speakers: dict[Robot, Iterator[tuple[str, str, str]]] = {}
        self._due: dict[Robot, float] = {}

    def add_speaker(self, robot: Robot, rooms: list[str], peers: list[str]) -> None:
        """Let a robot send to these rooms and private peers."""
        self._speakers[robot] = speaker_messages(f"{self._seed}/{robot.name}", rooms, peers, self.size)
        self._due[robot] = 0.0

    def speaks(self, robot: Robot) -> bool:
        return robot in self._speakers

    def __call__(self, now: float) -> None:
        """Send the due messages; a sender that was away catches up at most five."""
        if not self.on:
            return
        gap = 1 / self.rate
        for robot, speech in self._speakers.items():
            due = max(self._due[robot], now - 5 * gap)
            while due <= now:
                due += gap
                if robot.state is RobotState.LIVE and len(robot.unacknowledged) < MAX_UNACKNOWLEDGED:
                    room, peer, text = next(speech)
                    robot.say(text, room=room, to=peer)
            self._due[robot] = due


class ResendPostponed:
    """Lets robots resend messages refused as `unavailable`, after a pause."""

    def __init__(self, robots: list[Robot], every: float = 0.2) -> None:
        self._robots = robots
        self._every = every
        self._due = 0.0

    def __call__(self, now: float) -> None:
        if now >= self._due:
            self._due = now + self._every
            for robot in self._robots:
                if robot.postponed and robot.state is RobotState.LIVE:
                    robot.resend_postponed()


class RoomMoves:
    """Random joins and leaves of listeners, and closed conversations of senders."""

    def __init__(
        self, seed: object, listeners: list[Robot], peers_of: dict[Robot, list[str]], every: float
    ) -> None:
        self.moves = 0
        self._rng = random.Random(f"{seed}/wander")
        self._listeners = listeners
        self._peers_of = peers_of
        self._every = every
        self._due = 0.0

    def __call__(self, now: float) -> None:
        if now < self._due:
            return
        self._due = now + self._rng.uniform(0, 2 * self._every)
        robot = self._rng.choice([*self._listeners, *self._peers_of])
        if robot.state is not RobotState.LIVE:
            return
        self.moves += 1
        if robot in self._peers_of:
            robot.close(self._rng.choice(self._peers_of[robot]))
            return
        room = self._rng.choice(robot.rooms)
        if not robot.settled_in(room):
            return
        if room in robot.seqs:
            robot.leave(room)
        else:
            robot.join(room)


class Flood:
    """Sends `count` messages in total, with at most `window` unacknowledged per sender."""

    def __init__(self, senders: list[Robot], room: str, count: int, text: int, window: int = 64) -> None:
        self.left = count
        self._senders = senders
        self._room = room
        self._text = "x" * text
        self._window = window

    def __call__(self, _now: float) -> None:
        for robot in self._senders:
            while self.left and len(robot.unacknowledged) < self._window and robot.state is RobotState.LIVE:
                self.left -= 1
                robot.say(f"{robot.name} {self.left} {self._text}", room=self._room)


class Metronome:
    """Sends at fixed times, senders in turn; latency is measured from the planned times."""

    def __init__(self, senders: list[Robot], room: str, rate: float, text: int) -> None:
        self.planned: dict[str, float] = {}
        self._senders = senders
        self._room = room
        self._gap = 1 / rate
        self._text = "y" * text
        self._due = time.monotonic()
        self._number = 0

    def __call__(self, now: float) -> None:
        while self._due <= now:
            sender = self._senders[self._number % len(self._senders)]
            self._number += 1
            ref = sender.say(f"{sender.name} beat {self._number} {self._text}", room=self._room)
            self.planned[ref] = self._due
            self._due += self._gap

    def delays(self, receivers: list[Robot]) -> list[float]:
        """Return the latency in seconds of each message at each receiver, from its planned time."""
        return [
            at - self.planned[ref]
            for robot in receivers
            for ref, at in robot.delays or ()
            if ref in self.planned
        ]


def speaker_messages(
    seed: str, rooms: list[str], peers: list[str], size: int
) -> Iterator[tuple[str, str, str]]:
    """Yield one sender's messages: (room or "", peer or "", a unique text)."""
    rng = random.Random(seed)
    targets = [(room, "") for room in rooms] * 3 + [("", peer) for peer in peers]
    number = 0
    while True:
        number += 1
        room, peer = rng.choice(targets)
        words = rng.choices(_SAMPLE_WORDS, k=rng.randrange(1, 1 + max(1, size // 5)))
        yield room, peer, f"{seed} {number} {' '.join(words)}"
