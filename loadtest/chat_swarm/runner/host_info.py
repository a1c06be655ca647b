"""Describes the machine and the package versions of a run: what may change a figure between machines."""

import os
import platform
import resource
from importlib import metadata
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = ("greenroom", "locust", "gevent", "msgspec", "numpy", "hdrhistogram")


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name from the text of /proc/cpuinfo; "unknown" if it has none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown"


def describe_host() -> dict[str, Any]:
    """Return cores, processor, memory, kernel, limits and package versions, as summary.json's `machine`."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": cpu_model(_read("/proc/cpuinfo")),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "local_ports": "-".join(_read("/proc/sys/net/ipv4/ip_local_port_range").split()),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # not on this system, or hidden in this container: the description lacks it


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
