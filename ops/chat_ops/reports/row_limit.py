"""How many rows of a long answer are shown.

Knows one option. Must not know the answers.
"""

import argparse
from typing import Final

DEFAULT_ROWS: Final = 20
MAX_ROWS: Final = 1_000_000
"""Rows are held in memory."""


def add_limit_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--limit`."""
    parser.add_argument(
        "--limit",
        type=_parse_limit,
        default=DEFAULT_ROWS,
        metavar="N",
        help=f"at most so many {what} ({DEFAULT_ROWS})",
    )


def _parse_limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_ROWS:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MAX_ROWS:,}")
    return number
