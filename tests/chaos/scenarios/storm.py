"""A message storm in one room with a stopped reader: memory stays bounded, others are not delayed.

The reader is not disconnected, and reads everything afterwards, once and in order.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from chaos import meter
from chaos.actors.load import Flood, Metronome
from chaos.actors.robot import RobotState
from chaos.audit.faults import FaultKind
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage
from support.processes.memory import peak_kib, reset_peak

ROOM = "storm"
OUTBOX_KIB = 256
ALLOWED_KIB = OUTBOX_KIB + 1024
"""Allowed increase of the peak by a stopped reader."""
ALLOWED_RATIO = 1.3
"""Allowed increase of the others' 99th percentile, as a factor."""
SLOW_RECEIVE_BUFFER_BYTES = 16 << 10
"""The slow reader's receive buffer: small, as kernel buffers are not tested."""
SLICE_S = 2.5
"""Duration of a slice."""
MESSAGES_PER_S = 300.0
"""Rate in a slice."""
BURST_MESSAGES = 20_000
"""Messages before each slice: more than the kernel buffers for the slow reader."""
FLAGS = ("--stalled-timeout", "3600", "--ping-interval", "600")
Say = Callable[[str], object]


class Storm:
    """The scenario with its slow reader and the other clients of `size`."""

    def __init__(self, scene: ChaosStage, size: ScenarioSize) -> None:
        self.scene = scene
        self.crowd = scene.crowd
        self.text = size.text_bytes
        self.slow = scene.crowd.add("slow", [ROOM], receive_buffer=SLOW_RECEIVE_BUFFER_BYTES)
        self.others = [scene.crowd.add(f"q{n:02}", [ROOM]) for n in range(size.receivers)]
        self.senders = self.others[: size.senders]
        scene.start_load()
        self._id = self.slow.id

    def flood(self, messages: int, wait_s: float = 300.0) -> None:
        """Send them, and wait until all other clients have them."""
        flood = Flood(self.senders, ROOM, messages, self.text)
        self.crowd.work.append(flood)
        done = self.crowd.run(lambda: not flood.left and self._others_have_all(), wait_s)
        self.crowd.work.remove(flood)
        if not done:
            self._report_fault(f"{flood.left} of {messages} were not sent in {wait_s} s")

    def run(self, messages: int, *, reads: bool) -> tuple[int, int]:
        """Run one storm; return the peaks in KiB before and after the slow reader has read it."""
        pid = self.scene.server.pid
        reset_peak(pid)
        if not reads:
            self.crowd.stop_reading(self.slow)
        self.flood(messages)
        peak = peak_kib(pid)
        if not reads:
            self._check_reader_was_blocked(messages // 4)
        self.release()
        return peak, peak_kib(pid)

    def release(self) -> None:
        """Let the slow reader read everything, on its original connection."""
        if not self.crowd.connected(self.slow) or self.slow.state is not RobotState.LIVE:
            self._report_fault("it was disconnected while it was stopped")
        cuts = self.slow.cuts
        self.crowd.resume_reading(self.slow)
        self.crowd.run(lambda: not self.scene.auditor.behind("slow"), 300)
        if self.slow.cuts != cuts or self.slow.id != self._id:
            self._report_fault("it was disconnected before it had read all")

    def slice(self, *, reads: bool) -> float:
        """Return the others' p99 latency (ms) of one slice, with the slow reader reading or not."""
        if not reads:
            self.crowd.stop_reading(self.slow)
        self.flood(BURST_MESSAGES)
        if not reads:
            self._check_reader_was_blocked(BURST_MESSAGES // 4)
        for robot in self.others:
            robot.delays = []
        metronome = Metronome(self.senders, ROOM, MESSAGES_PER_S, self.text)
        self.crowd.work.append(metronome)
        self.crowd.run_for(SLICE_S)
        self.crowd.work.remove(metronome)
        self.crowd.run(self._others_have_all, 30)
        delays = metronome.delays(self.others)
        for robot in self.others:
            robot.delays = None
        self.release()
        return 1000 * meter.percentile(delays, 0.99)

    def _others_have_all(self) -> bool:
        behind = self.scene.auditor.behind
        return not any(robot.unacknowledged or behind(robot.name) for robot in self.others)

    def _check_reader_was_blocked(self, least: int) -> None:
        left = self.scene.auditor.heads[ROOM] - self.slow.seqs[ROOM]
        if left < least:
            self._report_fault(f"only {left} were left for it: it was never blocked")

    def _report_fault(self, what: str) -> None:
        self.scene.auditor.report_fault(FaultKind.NOT_QUIET, "slow", what, ROOM)


def run(folder: Path, size: ScenarioSize, messages: int) -> dict[str, float]:
    """Run a storm with a stopped reader; return the figures. Raises `FaultsFound`."""
    with chaos_stage(folder, _without_cast(size), *FLAGS) as scene:
        Storm(scene, size).run(messages, reads=False)
        return scene.finish()


def memory(
    folder: Path, size: ScenarioSize, messages: int, rounds: int, *, say: Say = print
) -> dict[str, float]:
    """Compare memory peaks of servers after two storms: the second one is read or not."""
    peaks: dict[bool, list[int]] = {True: [], False: []}
    figures: dict[str, float] = {}
    for number in range(rounds):
        for reads in (True, False):
            with chaos_stage(folder / f"{number}-{reads}", _without_cast(size), *FLAGS) as scene:
                storm = Storm(scene, size)
                storm.run(messages, reads=True)
                before, after = storm.run(messages, reads=reads)
                peaks[reads].append(after)
                how = "while it reads" if reads else f"({before} KiB before it read on)"
                say(f"round {number}: peak {after} KiB {how}")
                figures = scene.finish()
    reading, stopped = median(peaks[True]), median(peaks[False])
    return figures | {
        "peak_kib_reading": reading,
        "peak_kib_stopped": stopped,
        "peak_difference_kib": stopped - reading,
    }


def latency(folder: Path, size: ScenarioSize, slices: int, *, say: Say = print) -> dict[str, float]:
    """Compare the others' latency in slices, in turn with the reader reading and stopped."""
    with chaos_stage(folder, _without_cast(size), *FLAGS) as scene:
        storm = Storm(scene, size)
        reading, stopped = [], []
        for number in range(slices):
            reading.append(storm.slice(reads=True))
            stopped.append(storm.slice(reads=False))
            say(f"slice {number}: p99 {reading[-1]:.2f} ms, {stopped[-1]:.2f} ms while it is stopped")
        figures = scene.finish()
    return figures | {
        "p99_ms_reading": round(median(reading), 3),
        "p99_ms_stopped": round(median(stopped), 3),
        "p99_ratio": round(median(stopped) / median(reading), 3),
    }


def exceeded_limits(figures: dict[str, float]) -> list[str]:
    """Return the exceeded limits, as sentences."""
    wrong = []
    if figures.get("peak_difference_kib", 0) > ALLOWED_KIB:
        wrong.append(f"the peak is {figures['peak_difference_kib']} KiB higher, allowed are {ALLOWED_KIB}")
    if figures.get("p99_ratio", 0) > ALLOWED_RATIO:
        wrong.append(f"the others' p99 is {figures['p99_ratio']} times as high, allowed is {ALLOWED_RATIO}")
    return wrong


def _without_cast(size: ScenarioSize) -> ScenarioSize:
    """Return the size without clients: the storm has its own."""
    return replace(size, receivers=0)
