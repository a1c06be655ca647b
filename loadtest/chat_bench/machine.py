"""Describes the machine, and measures the CPU load of other programs."""

import contextlib
import os
import platform
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name from the text of /proc/cpuinfo; "unknown" if it has none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown"


def describe() -> dict[str, str]:
    """Return cores, processor, kernel and Python of this machine."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "CPU": cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")),
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


def busy_seconds(stat: str) -> float:
    """Return the CPU time that all cores were busy, from the text of /proc/stat, in seconds.

    proc(5): the first line holds user, nice, system, idle, iowait, irq and softirq, in ticks.
    """
    user, nice, system, _, _, irq, softirq = (int(field) for field in stat.split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) * _TICK_S


@contextlib.contextmanager
def pinned_to(cpu: int | None = None) -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, to one CPU, by default the last one."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed) if cpu is None else cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class OtherLoad:
    """Measures how many cores are used by programs other than this one and its children.

    With other load, results are less precise: a load generator that waits for the CPU sends smaller batches,
    and a server that is idle in between pays for wake-ups.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._others = self._measure()

    def cores(self) -> float:
        """Return the mean since the start; children must have ended."""
        return max(0.0, (self._measure() - self._others) / (time.monotonic() - self._start))

    @staticmethod
    def _measure() -> float:
        used = 0.0
        for usage_scope in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(usage_scope)
            used += usage.ru_utime + usage.ru_stime
        return busy_seconds(Path("/proc/stat").read_text(encoding="ascii")) - used
