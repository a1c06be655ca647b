"""Tables for programs: a JSON object a row, a row a line.

Knows tables. Must not know reports.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TextIO

from chat_ops.table import Table


def write(tables: Iterable[Table], out: TextIO) -> None:
    """Write the rows; the key `table` says which table each is of."""
    for table in tables:
        names = [column.name for column in table.columns]
        for row in table.rows:
            cells = dict(zip(names, row, strict=True))
            out.write(json.dumps({"table": table.name, **cells}, default=_plain) + "\n")


def _plain(value: object) -> str:
    return value.isoformat() + "Z" if isinstance(value, datetime) else str(value)
