"""Plays the same seeds in two checkouts, and shows where their transcripts part.

The other checkout runs this one's plays on its own core, through its own adapter.py and snapshot.py if it has
them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parents[2]
ADAPTERS: Final = ("adapter.py", "snapshot.py")
"""What knows the core's own names."""
CONTEXT_LINES: Final = 14
CONTEXT_CHARS: Final = 300


class Checkout(NamedTuple):
    """How the plays are run on one version of the core."""

    name: str
    python: str
    path: str  # PYTHONPATH
    folder: Path  # to run in

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `python -m support.plays` on that version."""
        environment = os.environ | {"PYTHONPATH": self.path}
        command = [self.python, "-m", "support.plays", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def output(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.name}: exit code {process.returncode}")
        return output


def compare(other: Path, seeds: range, *, adapters: Path | None, shown: int) -> int:
    """Print the first differences of some seeds; return how many seeds differ."""
    with tempfile.TemporaryDirectory() as folder:
        here = Checkout("here", sys.executable, _path(TESTS.parent), TESTS)
        there = _other(other.resolve(), Path(folder), adapters)
        wanted = ("--digests", "--seeds", f"{seeds.start}:{seeds.stop - 1}")
        processes = [one.start(*wanted) for one in (here, there)]
        try:
            outputs = [process.communicate()[0].splitlines() for process in processes]
        finally:
            for process in processes:
                process.kill()
        if any(process.returncode for process in processes):
            codes = [process.returncode for process in processes]
            raise SystemExit(f"a checkout could not play: exit codes {codes}")
        differing = [one.split()[0] for one, two in zip(*outputs, strict=True) if one != two]
        for seed in differing[:shown]:
            print(f"\nseed {seed}: - here, + {other}")
            print(difference(here.output(seed), there.output(seed)))
    print(f"{len(differing)} of {len(seeds)} seeds differ{': ' * bool(differing)}{' '.join(differing)}")
    return len(differing)


def difference(here: str, there: str) -> str:
    """Return the first lines in which two transcripts differ, after those that lead to them."""
    pairs = list(zip_longest(here.splitlines(), there.splitlines(), fillvalue="(the end)"))
    first = next(number for number, (one, two) in enumerate(pairs) if one != two)
    step = max((number for number in range(first) if pairs[number][0].startswith("= ")), default=0)
    lines = [f"  {one[:CONTEXT_CHARS]}" for one, _ in pairs[min(step, max(0, first - CONTEXT_LINES)) : first]]
    after = pairs[first : first + CONTEXT_LINES // 2]
    lines += [f"- {one}" for one, _ in after]
    lines += [f"+ {two}" for _, two in after]
    return "\n".join(lines)


def _path(root: Path) -> str:
    return os.pathsep.join(map(str, (root / "tests", root / "server")))


def _other(root: Path, folder: Path, adapters: Path | None) -> Checkout:
    """Return another checkout with this one's plays laid over its tests."""
    plays = folder / "support" / "plays"
    shutil.copytree(TESTS / "support" / "plays", plays, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "support" / "core_stage").mkdir()
    shutil.copy(TESTS / "support" / "core_stage" / "clock.py", folder / "support" / "core_stage")
    own = adapters or root / "tests" / "support" / "plays"
    for name in ADAPTERS:
        if (own / name).exists():
            shutil.copy(own / name, plays)
    python = root / ".venv" / "bin" / "python"
    path = os.pathsep.join((str(folder), _path(root)))
    return Checkout(str(root), str(python) if python.exists() else sys.executable, path, folder)
