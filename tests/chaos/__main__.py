"""The command `python -m chaos` (`make chaos`): runs scenarios in full size and prints their figures."""

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from chaos.programme import SCENARIOS, Figures, Options

DEFAULTS = Options(seed="")


def options(argv: list[str]) -> tuple[list[str], Options, Path | None]:
    """Parse the command line; return scenarios, options, and the folder for data and logs."""
    parser = argparse.ArgumentParser(
        prog="chaos",
        description="Inject faults into a real server and audit that no acknowledged message is lost.",
        epilog="scenarios: " + "; ".join(f"{name}: {one.about}" for name, one in SCENARIOS.items()),
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="scenarios to run (default: all)")
    parser.add_argument("--seed", default=secrets.token_hex(3), help="the same seed gives the same plan")
    parser.add_argument("--kills", type=int, default=DEFAULTS.kills, help="how often the server is killed")
    parser.add_argument("--receivers", type=int, default=DEFAULTS.receivers, help="connected clients")
    parser.add_argument("--messages", type=int, default=DEFAULTS.messages, help="messages in a storm")
    parser.add_argument(
        "--slices", type=int, default=DEFAULTS.slices, help="slices in which latency is measured"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all other counts and durations")
    parser.add_argument("--keep", type=Path, help="a folder that keeps data and logs")
    chosen = parser.parse_args(argv)
    for name in chosen.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}; choose of {', '.join(SCENARIOS)}")
    if min(chosen.kills, chosen.receivers, chosen.messages, chosen.slices) < 1 or chosen.scale <= 0:
        parser.error("sizes must be at least 1, and --scale above 0")
    sizes = Options(
        seed=chosen.seed,
        kills=chosen.kills,
        receivers=chosen.receivers,
        messages=chosen.messages,
        slices=chosen.slices,
        scale=chosen.scale,
    )
    return chosen.scenarios or list(SCENARIOS), sizes, chosen.keep


def main(argv: list[str]) -> int:
    """Run the chosen scenarios; return 1 if any failed, else 0."""
    names, sizes, keep = options(argv)
    print(f"seed {sizes.seed}", flush=True)
    failed: list[str] = []
    began = time.monotonic()
    for name in names:
        print(f"\n== {name}: {SCENARIOS[name].about}", flush=True)
        if wrong := one(name, sizes, keep):
            failed.append(name)
            print(f"FAILED {wrong}", flush=True)
    passed = f"{len(names) - len(failed)} of {len(names)} passed"
    print(f"\n{passed} in {time.monotonic() - began:.0f} s, seed {sizes.seed}")
    if failed:
        print(f"again with: make chaos ARGS='{' '.join(failed)} --seed {sizes.seed}'")
    return 1 if failed else 0


def one(name: str, sizes: Options, keep: Path | None) -> str:
    """Run one scenario; return what is wrong, empty if nothing."""
    with tempfile.TemporaryDirectory(prefix=f"chaos-{name}-") as scratch:
        folder = keep / f"{name}-{sizes.seed}" if keep else Path(scratch)
        try:
            figures = SCENARIOS[name].run(folder, sizes)
        except AssertionError as error:
            return str(error)
        show(figures)
        return "; ".join(SCENARIOS[name].judge(figures))


def show(figures: Figures) -> None:
    """Print figures, one per line."""
    for key, value in figures.items():
        print(f"  {key:24}{value:>14,}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
