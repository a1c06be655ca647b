"""CSV output: a header and rows; an empty line separates tables (`--table` chooses one).

Values have no units: the column names give them. Text that a spreadsheet would evaluate as a formula is
prefixed by an apostrophe (OWASP, "CSV Injection").
"""

import csv
from collections.abc import Iterable
from typing import Any, Final, TextIO

from chat_ops.output.formatting import escape_unprintable
from chat_ops.output.jsonl import json_value
from chat_ops.table import ReportTable

_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r")


def write(tables: Iterable[ReportTable], out: TextIO) -> None:
    """Write all tables to `out`."""
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
