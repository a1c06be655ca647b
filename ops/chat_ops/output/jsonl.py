"""Tables for programs: a JSON object a row, a row a line.

Knows tables. Must not know reports. What a terminal would obey is escaped, as JSON allows for any character.
"""

import json
import math
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, TextIO

from chat_ops.table import ReportTable


def write(tables: Iterable[ReportTable], out: TextIO) -> None:
    """Write the rows; the key `table` says which table each is of."""
    for table in tables:
        names = [column.name for column in table.columns]
        for row in table.rows:
            cells = {name: json_value(value) for name, value in zip(names, row, strict=True)}
            out.write(json.dumps({"table": table.name, **cells}, ensure_ascii=True) + "\n")


def json_value(value: Any) -> Any:
    """Return a value that JSON has: times in ISO 8601 with their zone, what is no number as None."""
    if isinstance(value, datetime):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)
