"""Exceptions of `chat-logs`, one for each exit code besides 0."""

from chat_ops.table import ReportTable


class UsageError(Exception):
    """Raised for wrong arguments or unreadable files; the text is shown to the user (exit code 2)."""


class BoundBrokenError(Exception):
    """Raised after a report whose `--fail-if` bound is broken; carries the tables (exit code 1)."""

    def __init__(self, tables: list[ReportTable]) -> None:
        super().__init__("a bound is broken")
        self.tables = tables
