"""Measurements: peak memory of a process from /proc, and percentiles."""

from collections.abc import Sequence
from pathlib import Path


def reset_peak(pid: int) -> None:
    """Reset the peak of resident memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_kib(pid: int) -> int:
    """Return the peak of resident memory since the reset, in KiB."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no {field}")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a `share` (0 to 1) of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
