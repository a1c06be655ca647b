"""The command `python -m support.plays`: print, record or compare transcripts of random plays."""

from __future__ import annotations

import argparse
from pathlib import Path

from support.plays import digests
from support.plays.compare import compare
from support.plays.play import perform


def seeds_of(text: str) -> range:
    """Return the seeds of `FIRST:LAST`, both included, or of one number."""
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    """Run the command; the exit code is 1 if checkouts differ."""
    parser = argparse.ArgumentParser(prog="python -m support.plays", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="print the transcript of this seed")
    parser.add_argument("--seeds", type=seeds_of, default=digests.SEEDS, metavar="FIRST:LAST")
    parser.add_argument("--digests", action="store_true", help="print the digests of the seeds")
    parser.add_argument("--record", action="store_true", help=f"write the digests to {digests.FILE.name}")
    parser.add_argument("--compare", type=Path, metavar="CHECKOUT", help="play in another checkout too")
    parser.add_argument("--adapters", type=Path, help="a folder with adapter.py and snapshot.py for it")
    parser.add_argument("--show", type=int, default=1, metavar="N", help="show N differences")
    options = parser.parse_args()
    if options.seed is not None:
        print(perform(options.seed), end="")
    elif options.compare is not None:
        return bool(compare(options.compare, options.seeds, adapters=options.adapters, shown=options.show))
    elif options.record:
        digests.record(options.seeds)
    elif options.digests:
        for seed in options.seeds:
            print(seed, digests.digest(seed), flush=True)
    else:
        parser.error("nothing to do: name a seed, or --digests, --record or --compare")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
