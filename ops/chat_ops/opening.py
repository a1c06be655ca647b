"""From the options of a command to the log they mean.

Knows the names of the options in the namespace. Must not know reports.
"""

import argparse
from collections.abc import Sequence

from chat_ops.filters import Filters
from chat_ops.log import Log


def open_log(args: argparse.Namespace, files: Sequence[str] | None = None) -> Log:
    """Return the log of `files` (`args.files` by default), with the filters that `args` has; nothing is read yet.

    Raises UsageError where there is nothing to read.
    """
    return Log(args.files if files is None else files, Filters())
