"""Tables for spreadsheets: a header and rows; an empty line between two tables (`--table` chooses one).

Knows tables. Must not know reports. Values are as computed, without units: the names say them. A text that a
spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection").
"""

import csv
from collections.abc import Iterable
from typing import Any, Final, TextIO

from chat_ops.output.formatting import escape_unprintable
from chat_ops.output.jsonl import json_value
from chat_ops.table import ReportTable

_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r")


def write(tables: Iterable[ReportTable], out: TextIO) -> None:
    """Write the tables one after another."""
    writer = csv.writer(out, lineterminator="\n")
    for number, table in enumerate(tables):
        if number:
            out.write("\n")
        writer.writerow(column.name for column in table.columns)
        writer.writerows([_cell(value) for value in row] for row in table.rows)


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join("" if item is None else str(json_value(item)) for item in value)
    value = json_value(value)
    if not isinstance(value, str):
        return value
    shown = escape_unprintable(value)
    return f"'{shown}" if shown.startswith(_FORMULA_PREFIXES) else shown
