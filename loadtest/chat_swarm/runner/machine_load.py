"""What else the machine does while a run is on: the cores that neither the swarm nor the server keeps busy.

Knows psutil. Must not know what the figures are used for. A sample costs 0.1 ms. It is about the machine of
the master, or of the only process; bot processes that were started by themselves count as others.
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
    """Cores in use, from one sample to the next."""

    def __init__(self) -> None:
        """Begin; the bot processes of `--processes` are there by now."""
        own = psutil.Process()
        self._own: list[Any] = [own, *own.children(recursive=True)]
        self._at = time.monotonic()
        self._busy, self._stolen, self._used = self._read()

    def sample(self, server_cores: float) -> MachineSample:
        """Return what was used since the last sample, when the server (0.0: elsewhere) used so much.

        The clocks of CPU time tick every 10 ms.
        """
        now = time.monotonic()
        elapsed, self._at = max(now - self._at, 1e-3), now
        busy, stolen, used = self._read()
        others = (busy - self._busy - (used - self._used)) / elapsed - server_cores
        sample = MachineSample(others=max(0.0, others), stolen=max(0.0, stolen - self._stolen) / elapsed)
        self._busy, self._stolen, self._used = busy, stolen, used
        return sample

    def _read(self) -> tuple[float, float, float]:
        """Return the seconds of all cores that were used, that a hypervisor withheld, and our own."""
        times = psutil.cpu_times()
        used = 0.0
        for process in self._own:
            with suppress(psutil.Error):  # a bot process that has died uses nothing more
                mine = process.cpu_times()
                used += mine.user + mine.system
        return sum(getattr(times, name, 0.0) for name in _BUSY_FIELDS), getattr(times, "steal", 0.0), used
