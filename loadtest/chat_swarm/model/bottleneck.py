"""Decides whether the generator was the bottleneck: in a second, in a step of a load shape, in a run. Pure.

- A second: `overload_reason`, asked by each bot process (bots/bot_process.py). The second is then *marked*,
  as is one that a process did not report (runner/collector.py, `SILENT_PROCESS_REASON`).
- A step: `is_step_generator_bound`, asked by the coordinator (runner/coordinator.py).
- A run: `is_run_generator_bound`, asked for the verdict (results/verdict.py).
"""

from typing import Final

SILENT_PROCESS_REASON: Final = "a bot process did not report"
"""The reason of a marked second for which a process that had reported before sent no report."""

_BUSY_CORES: Final = 0.95
"""CPU use above which the process itself is the bottleneck: Python uses one core at most."""

_STEP_BOTTLENECK_SHARE: Final = 0.2
"""Share of marked seconds above which a step's outcome is unknown.

Larger than `_RUN_BOTTLENECK_SHARE`, since a step has few seconds: of ten (the default of `--shape-measure`),
two may be marked. At 5 % a single one would be too many: the capacity search repeats such a step, then ends.
"""

_RUN_BOTTLENECK_SHARE: Final = 0.05
"""Share of marked seconds above which the verdict calls the generator the bottleneck of the run.

Smaller than `_STEP_BOTTLENECK_SHARE`, since a run has many seconds: of 60, three may be marked. It fails no
run; the report warns.
"""


def overload_reason(
    *, lag_limit_s: float, loop_lag_max_us: int, cpu_cores: float, send_lag_max_us: int
) -> str:
    """Return why a bot process was the bottleneck in a second; empty if it was not.

    `lag_limit_s`: `RunPlan.lag_limit`; `cpu_cores`: CPU time of the process divided by the second's length.
    """
    if loop_lag_max_us > lag_limit_s * 1e6:
        return f"loop lag over {lag_limit_s * 1e3:g} ms"
    if cpu_cores > _BUSY_CORES:
        return f"CPU over {_BUSY_CORES:.0%} of a core"
    if send_lag_max_us > lag_limit_s * 1e6:
        return f"sent late by over {lag_limit_s * 1e3:g} ms"  # it catches up after the second before
    return ""


def is_step_generator_bound(marked: int, seconds: int) -> bool:
    """Return whether so many of a step's seconds are marked that they say little about the server."""
    return marked > _STEP_BOTTLENECK_SHARE * seconds


def is_run_generator_bound(marked: int, seconds: int) -> bool:
    """Return whether so many of a run's seconds are marked that its rates may be the generator's limit."""
    return marked > _RUN_BOTTLENECK_SHARE * seconds
