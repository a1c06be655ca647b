"""The options `--limit` and `--top` of reports with long tables."""

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


def add_top_option(parser: argparse.ArgumentParser, default: int, what: str) -> None:
    """Add `--top` to a report; `what` says in the help text what there are so many of."""
    parser.add_argument("--top", type=_parse_rows, default=default, metavar="N", help=f"{what} ({default})")


def _parse_rows(text: str, least: int = 0) -> int:
    """Return a number of rows, as an argparse type."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= MAX_ROWS):
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {MAX_ROWS:,}, not {text}")
    return int(text)


def _parse_limit(text: str) -> int:
    return _parse_rows(text, least=1)
