"""`make fuzz`: each target for a while, in a process of its own, guided by the coverage of our code.

What a run finds to be new goes on as the corpus of the next one, in a folder outside the project; an input
that breaks a promise is kept there too, and becomes an ordinary test once it is understood.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.seeds import TARGETS, WORDS, seeds

_PROGRESS = re.compile(r"#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_MAX_INPUT_BYTES = 700  # bytes of an input: the longest seed has a third of that
_GRACE_S = 60  # seconds beyond its time after which a target is ended


def main() -> int:
    """Run the targets that were asked for; 0 if every promise held."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=int, default=30, help="time for each target (default: 30)")
    parser.add_argument(
        "--finds",
        type=Path,
        default=Path(tempfile.gettempdir()) / "greenroom-fuzz",
        help="folder that keeps what was found (default: %(default)s)",
    )
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    broken = [target for target in options.targets or TARGETS if not _run(target, options)]
    if broken:
        print(f"broken: {', '.join(broken)}; the inputs are in {options.finds}")
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
            print(f"{target:9} did not end in time")
            return False
    progress = _PROGRESS.findall(done.stderr)
    if not progress or done.returncode:
        print(f"{target:9} broke a promise:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}")
        return False
    count, _, coverage, features, size = progress[-1]
    first = next((each for each in progress if each[1] == "INITED"), progress[0])
    print(
        f"{target:9} {int(count):>9,} executions, coverage {first[2]} -> {coverage}, "
        f"features {first[3]} -> {features}, {size} inputs kept"
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
