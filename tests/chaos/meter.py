"""What is measured of a server from outside: its peak memory, and how late its messages come.

Knows /proc and percentiles. Must not know scenarios.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from chaos.robot import Robot, State


def reset_peak(pid: int) -> None:
    """Let the peak of resident memory begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_kib(pid: int) -> int:
    """Return the peak of resident memory since then, in KiB."""
    return _status(pid, "VmHWM")


def resident_kib(pid: int) -> int:
    """Return the resident memory now, in KiB."""
    return _status(pid, "VmRSS")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no {field}")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Flood:
    """Lets senders say `count` messages together, each with at most `window` unacknowledged."""

    def __init__(self, senders: list[Robot], room: str, count: int, text: int, window: int = 64) -> None:
        self.left = count
        self._senders = senders
        self._room = room
        self._text = "x" * text
        self._window = window

    def __call__(self, _now: float) -> None:
        for robot in self._senders:
            while self.left and len(robot.unacknowledged) < self._window and robot.state is State.LIVE:
                self.left -= 1
                robot.say(f"{robot.name} {self.left} {self._text}", room=self._room)


class Metronome:
    """Lets senders say something in turn at fixed times, which are what lateness is measured from."""

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
        """Return the seconds from each planned time to each receiver's having it."""
        return [
            at - self.planned[ref]
            for robot in receivers
            for ref, at in robot.delays or ()
            if ref in self.planned
        ]
