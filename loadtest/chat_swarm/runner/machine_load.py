"""Samples the CPU load of other programs: cores that neither the swarm nor the server keeps busy.

A sample costs 0.1 ms. It is of the master's machine, or of the only process's. Bot processes that were not
started by `--processes` count as other programs.
"""

import time
from contextlib import suppress
from typing import Any, Final

import psutil

from chat_swarm.model.schema import MachineSample

_BUSY_FIELDS: Final = (
    "user",
    "nice",
    "system",
    "irq",
    "softirq",
)  # a virtual machine's guests are in the first two


class OtherLoadSampler:
    """Cores used by other programs between two samples."""

    def __init__(self) -> None:
        """Take the first reading. MUST run after `--processes` has forked: children are looked up once."""
        own = psutil.Process()
        self._own: list[Any] = [own, *own.children(recursive=True)]
        self._at = time.monotonic()
        self._busy, self._stolen, self._used = self._read()

    def sample(self, server_cores: float) -> MachineSample:
        """Return the cores used since the last sample, less `server_cores` (0.0 for a server elsewhere).

        The kernel's CPU clocks tick every 10 ms.
        """
        now = time.monotonic()
        elapsed, self._at = max(now - self._at, 1e-3), now
        busy, stolen, used = self._read()
        others = (busy - self._busy - (used - self._used)) / elapsed - server_cores
        sample = MachineSample(others=max(0.0, others), stolen=max(0.0, stolen - self._stolen) / elapsed)
        self._busy, self._stolen, self._used = busy, stolen, used
        return sample

    def _read(self) -> tuple[float, float, float]:
        """Return CPU seconds since boot: used on all cores, stolen by a hypervisor, used by our processes."""
        times = psutil.cpu_times()
        used = 0.0
        for process in self._own:
            with suppress(psutil.Error):  # a bot process that has died uses no more CPU
                mine = process.cpu_times()
                used += mine.user + mine.system
        return sum(getattr(times, name, 0.0) for name in _BUSY_FIELDS), getattr(times, "steal", 0.0), used
