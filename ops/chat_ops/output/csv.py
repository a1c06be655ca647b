"""Tables for spreadsheets: a header and rows; an empty line between two tables.

Knows tables. Must not know reports.
"""

import csv
from collections.abc import Iterable
from typing import TextIO

from chat_ops.table import Table


def write(tables: Iterable[Table], out: TextIO) -> None:
    """Write the tables one after another."""
    writer = csv.writer(out, lineterminator="\n")
    for number, table in enumerate(tables):
        if number:
            out.write("\n")
        writer.writerow(column.name for column in table.columns)
        writer.writerows(table.rows)
