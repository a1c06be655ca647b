"""Prints progress and errors to standard error, so that standard output has only the table."""

import sys


def print_progress(text: str) -> None:
    """Print a line of progress, at once."""
    print(text, file=sys.stderr, flush=True)
