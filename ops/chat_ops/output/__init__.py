"""Output formats of report tables: terminal, JSON lines, CSV.

Imports `table`; never reports or the log.
Open `terminal.py` first.
"""

import sys
from collections.abc import Sequence

from chat_ops.output import csv, jsonl, terminal
from chat_ops.output.formatting import escape_unprintable
from chat_ops.table import ReportTable


def show(tables: Sequence[ReportTable], form: str | None) -> None:
    """Write the tables to standard output: `form` is `json`, `csv` or None (for people).

    With `json` and `csv` the notes go to standard error.
    """
    if form == "json":
        jsonl.write(tables, sys.stdout)
    elif form == "csv":
        csv.write(tables, sys.stdout)
    else:
        terminal.print_tables(tables, sys.stdout)
        return
    for table in tables:
        for note in table.notes:
            sys.stderr.write(f"{table.name}: {escape_unprintable(note)}\n")
