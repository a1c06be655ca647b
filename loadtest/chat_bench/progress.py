"""Progress and errors go to standard error, so that standard output has only the table; exit codes."""

import sys
from collections.abc import Callable
from typing import Final

from chat_bench.process import BenchError
from chat_cli import streams

FAILED: Final = 1
"""Exit code if something could not be measured."""
UNWRITABLE: Final = 2
"""Exit code if the results cannot be written."""


class ResultsError(Exception):
    """Raised if a file of results cannot be written; the text is a sentence."""


def run_command(main: Callable[[], int]) -> int:
    """Run a command of the bench; return its exit code, after a sentence if it has failed."""

    def run() -> int:
        try:
            return main()
        except BenchError as error:
            streams.print_error("chat_bench", str(error))
            return FAILED
        except ResultsError as error:
            streams.print_error("chat_bench", str(error))
            return UNWRITABLE

    return streams.run("chat_bench", run, output_failed=UNWRITABLE, reader_gone=0)


def print_progress(text: str) -> None:
    """Print a line of progress, at once."""
    print(text, file=sys.stderr, flush=True)
