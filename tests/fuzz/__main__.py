"""`make fuzz`: runs each fuzz target for a while in its own process, guided by coverage (Atheris, libFuzzer).

New inputs become the corpus of the next run, in a folder outside the project. Failing inputs are kept there
too, and are turned into ordinary tests once they are understood.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.seeds import TARGETS, WORDS, seeds

_PROGRESS = re.compile(r"#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_MAX_INPUT_BYTES = 700  # the longest seed has a third of that
_GRACE_S = 60  # after its time, before a target is killed


def main() -> int:
    """Run the targets given, or all; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=30, help="time for each target (default: 30)")
    parser.add_argument(
        "--finds",
        type=Path,
        default=Path(tempfile.gettempdir()) / "greenroom-fuzz",
        help="folder for the inputs found (default: %(default)s)",
    )
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target: {', '.join(sorted(unknown))}; see --help for the list")
    broken = [target for target in options.targets or TARGETS if not _run(target, options)]
    if broken:
        print(f"failed: {', '.join(broken)}; the inputs are in {options.finds}")
    return 1 if broken else 0


def _run(target: str, options: argparse.Namespace) -> bool:
    folder = options.finds / target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as begun:
        for number, seed in enumerate(seeds(target)):
            (Path(begun) / f"seed-{number}").write_bytes(seed)
        command = [
            *(sys.executable, "-m", "fuzz.one", target),
            *(
                f"-max_total_time={options.seconds}",
                f"-max_len={_MAX_INPUT_BYTES}",
                "-timeout=20",
                "-rss_limit_mb=1024",
            ),
            *(f"-dict={WORDS}", f"-artifact_prefix={options.finds}/{target}-", "-print_final_stats=1"),
            *(str(folder), begun),
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=options.seconds + _GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{target:12} timed out")
            return False
    progress = _PROGRESS.findall(done.stderr)
    if not progress or done.returncode:
        print(f"{target:12} failed:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}")
        return False
    count, _, coverage, features, size = progress[-1]
    first = next((each for each in progress if each[1] == "INITED"), progress[0])
    print(
        f"{target:12} {int(count):>9,} executions, coverage {first[2]} -> {coverage}, "
        f"features {first[3]} -> {features}, {size} inputs kept"
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
