"""What `chat-logs` finds in an old log, and `chat-swarm` in an old run."""

import json
import math
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from goldens import old_data, old_run
from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment

REPORTS = (
    "summary",
    "timeline",
    "rooms",
    "users",
    "sessions",
    "latency",
    "rtt",
    "errors",
    "slow",
    "storms",
    "audit",
)
LOG = str(old_data.DATA / "server.log")
RUN = str(old_run.DATA)
DIGITS = 4
"""Of figures: the last ones of a mean may differ from one numpy or DuckDB to the next."""


def logs(folder: Path) -> str:
    """Return the rows of every report."""
    commands: list[tuple[str, ...]] = [("chat-logs", name, "--json", LOG) for name in REPORTS]
    commands.append(
        (
            "chat-logs",
            "sql",
            "--json",
            "select event, count(*) as lines from lines group by 1 order by 1",
            LOG,
        )
    )
    with ThreadPoolExecutor(4) as pool:
        outputs = pool.map(lambda command: _output(folder, *command), commands)
    lines: list[str] = []
    for command, output in zip(commands, outputs, strict=True):
        lines.append(f"== {command[1]}")
        lines += [json.dumps(_rounded(json.loads(row)), ensure_ascii=False) for row in output.splitlines()]
    return "\n".join(lines)


def swarm(folder: Path) -> str:
    """Return the figures of a run, as it is compared with itself."""
    found = json.loads(_output(folder, "chat-swarm", "compare", "--json", RUN, RUN))
    rows = [json.dumps(_rounded(row), ensure_ascii=False) for row in found.pop("lines")]
    return "\n".join([json.dumps(found, ensure_ascii=False), *rows])


def _output(folder: Path, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [BIN_DIR / name, *arguments],
        env=clean_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S * 2,
        check=True,
    )
    return done.stdout


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value
