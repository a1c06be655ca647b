"""The memory of a process, from /proc."""

from pathlib import Path


def reset_peak(pid: int) -> None:
    """Reset the peak of resident memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_kib(pid: int | str = "self") -> int:
    """Return the peak of resident memory since the program was started, or since the reset, in KiB.

    `getrusage` counts what the process had before that, too: as much as the process that started it.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no VmHWM: the process has ended")
