"""The machine that numbers were measured on, in a few words."""

import os
import platform
from pathlib import Path


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name in /proc/cpuinfo, "unknown" where it tells none."""
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
