"""A storm in one room while one reader stands still: memory stays bounded, nobody else is later for it.

The reader is not disconnected, and reads all of it afterwards, once and in order.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median

from chaos import meter
from chaos.faults import Kind
from chaos.meter import Flood, Metronome
from chaos.robot import State
from chaos.stage import Size, Stage, stage

ROOM = "storm"
OUTBOX_KIB = 256
ALLOWED_KIB = OUTBOX_KIB + 1024
"""By how much the peak may be higher for a reader that stands still."""
ALLOWED_RATIO = 1.3
"""By how much the others' 99th percentile may be."""
SLOW_BUFFER = 16 << 10
"""The slow reader's receive buffer in bytes: what the kernel holds for it is not what is tested."""
WARM = 64
"""KiB between the peaks of two runs that are alike: the caches are full."""
RUNS = 8
SLICE = 2.5
RATE = 300.0


class Storm:
    """The stage with its one slow reader."""

    def __init__(self, scene: Stage, messages: int, text: int) -> None:
        self.scene = scene
        self.crowd = scene.crowd
        self.messages = messages
        self.text = text
        self.slow = scene.crowd.add("slow", [ROOM], receive_buffer=SLOW_BUFFER)
        self.others = [scene.crowd.add(f"q{n:02}", [ROOM]) for n in range(scene.size.receivers)]
        self.senders = self.others[: scene.size.senders]
        scene.open()
        self.id = self.slow.id

    def flood(self, messages: int, patience: float = 300.0) -> None:
        """Send them, and wait until everybody who reads has them."""
        flood = Flood(self.senders, ROOM, messages, self.text)
        self.crowd.work.append(flood)
        done = self.crowd.run(lambda: not flood.left and self._others_have_all(), patience)
        self.crowd.work.remove(flood)
        if not done:
            self.scene.auditor.fault(Kind.NOT_QUIET, "", f"{flood.left} of {messages} unsent in {patience} s")

    def _others_have_all(self) -> bool:
        behind = self.scene.auditor.behind
        return not any(robot.unacknowledged or behind(robot.name) for robot in self.others)

    def run(self, *, reads: bool) -> int:
        """Go through one storm; return the server's peak in KiB, the slow one's catching up included."""
        pid = self.scene.server.pid
        meter.reset_peak(pid)
        if not reads:
            self.crowd.stop_reading(self.slow)
        self.flood(self.messages)
        if not reads:
            left = self.scene.auditor.heads[ROOM] - self.slow.seqs[ROOM]
            if left < self.messages // 4:
                self.scene.auditor.fault(
                    Kind.NOT_QUIET, "slow", f"only {left} were left: it never stood still"
                )
        self.release()
        return meter.peak_kib(pid)

    def release(self) -> None:
        """Let the slow one read all there is, over the connection that it had."""
        if not self.crowd.connected(self.slow) or self.slow.state is not State.LIVE:
            self.scene.auditor.fault(Kind.NOT_QUIET, "slow", "it was disconnected while it stood still")
        cuts = self.slow.cuts
        self.crowd.go_on_reading(self.slow)
        self.crowd.run(lambda: not self.scene.auditor.behind("slow"), 300)
        if self.slow.cuts != cuts or self.slow.id != self.id:
            self.scene.auditor.fault(Kind.NOT_QUIET, "slow", "it was disconnected before it had read all")

    def slice(self, *, reads: bool, burst: int) -> float:
        """Return the others' 99th percentile in ms of one slice, in which the slow one reads or not."""
        if not reads:
            self.crowd.stop_reading(self.slow)
        self.flood(burst)
        for robot in self.others:
            robot.delays = []
        metronome = Metronome(self.senders, ROOM, RATE, self.text)
        self.crowd.work.append(metronome)
        self.crowd.run_for(SLICE)
        self.crowd.work.remove(metronome)
        self.crowd.run(self._others_have_all, 30)
        delays = metronome.delays(self.others)
        for robot in self.others:
            robot.delays = None
        self.release()
        return 1000 * meter.percentile(delays, 0.99)


def run(folder: Path, size: Size, messages: int) -> dict[str, float]:
    """Storm with a reader that stands still; raise what the audit finds, or return the figures."""
    bare = Size(seed=size.seed, receivers=0)
    with stage(folder, bare, "--stalled-timeout", "3600", "--ping-interval", "600") as scene:
        scene.size = size
        storm = Storm(scene, messages, size.text)
        storm.run(reads=False)
        return scene.close()


def measured(
    folder: Path, size: Size, messages: int, slices: int, *, say: Callable[[str], object] = print
) -> dict[str, float]:
    """Storm until the server is warm, then compare memory and latency with and without a slow reader."""
    bare = Size(seed=size.seed, receivers=0)
    with stage(folder, bare, "--stalled-timeout", "3600", "--ping-interval", "600") as scene:
        scene.size = size
        storm = Storm(scene, messages, size.text)
        peaks = warmed(storm, say)
        stopped = storm.run(reads=False)
        after = storm.run(reads=True)
        say(f"peaks while it reads {[*peaks, after]} KiB, while it stands still {stopped} KiB")
        with_it, without = [], []
        for number in range(slices):
            with_it.append(storm.slice(reads=False, burst=5_000))
            without.append(storm.slice(reads=True, burst=5_000))
            say(f"slice {number}: p99 {with_it[-1]:.2f} ms while it stands, {without[-1]:.2f} ms while it reads")
        figures = scene.close()
    return figures | {
        "peak_kib_reading": peaks[-1],
        "peak_kib_stopped": stopped,
        "peak_kib_reading_again": after,
        "peak_difference_kib": stopped - peaks[-1],
        "p99_ms_reading": round(median(without), 3),
        "p99_ms_stopped": round(median(with_it), 3),
        "p99_ratio": round(median(with_it) / median(without), 3),
    }


def warmed(storm: Storm, say: Callable[[str], object]) -> list[int]:
    """Storm while it reads until two peaks are alike; return all peaks."""
    peaks: list[int] = []
    while len(peaks) < RUNS and (len(peaks) < 2 or peaks[-1] - peaks[-2] > WARM):
        peaks.append(storm.run(reads=True))
        say(f"warming: peak {peaks[-1]} KiB")
    return peaks


def judged(figures: dict[str, float]) -> list[str]:
    """Return what is worse than allowed, as sentences."""
    wrong = []
    if figures["peak_difference_kib"] > ALLOWED_KIB:
        wrong.append(f"the peak is {figures['peak_difference_kib']} KiB higher, allowed are {ALLOWED_KIB}")
    if figures["p99_ratio"] > ALLOWED_RATIO:
        wrong.append(f"the others' p99 is {figures['p99_ratio']} times as high, allowed is {ALLOWED_RATIO}")
    return wrong
