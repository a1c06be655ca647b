"""What may end a run other than well: closed classes, one for each exit code besides 0.

Knows sentences and tables. Must not know how they are shown.
"""

from chat_ops.table import ReportTable


class UsageError(Exception):
    """The command was given something it cannot work with; the sentence is for the person (exit code 2)."""


class BoundBrokenError(Exception):
    """The tables were made, and a bound that was asked for does not hold (exit code 1)."""

    def __init__(self, tables: list[ReportTable]) -> None:
        super().__init__("a bound is broken")
        self.tables = tables
