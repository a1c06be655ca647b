"""The option `--limit` of reports with long tables."""

import argparse
from typing import Final

DEFAULT_ROWS: Final = 20
MAX_ROWS: Final = 1_000_000
"""Upper bound, as rows are held in memory."""


def add_limit_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--limit` to a report; `what` names its rows in the help text."""
    parser.add_argument(
        "--limit",
        type=_parse_limit,
        default=DEFAULT_ROWS,
        metavar="N",
        help=f"maximum number of {what} ({DEFAULT_ROWS})",
    )


def _parse_limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_ROWS:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_ROWS:,}, not {text}")
    return number
