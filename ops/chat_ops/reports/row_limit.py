"""How many rows of a long answer are shown.

Knows one option. Must not know the answers.
"""

import argparse
from typing import Final

DEFAULT: Final = 20
MOST: Final = 1_000_000
"""Rows are held in memory."""


def add_limit(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--limit`."""
    parser.add_argument(
        "--limit", type=_number, default=DEFAULT, metavar="N", help=f"at most so many {what} ({DEFAULT})"
    )


def _number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST:,}")
    return number
