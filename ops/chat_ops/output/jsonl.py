"""JSON Lines output: one object per row. Control characters are escaped."""

import json
import math
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, TextIO

from chat_ops.table import ReportTable


def write(tables: Iterable[ReportTable], out: TextIO) -> None:
    """Write all rows to `out`; the key `table` has the name of the row's table."""
    for table in tables:
        names = [column.name for column in table.columns]
        for row in table.rows:
            cells = {name: json_value(value) for name, value in zip(names, row, strict=True)}
            out.write(json.dumps({"table": table.name, **cells}, ensure_ascii=True) + "\n")


def json_value(value: Any) -> Any:
    """Return a value that JSON can represent: times in ISO 8601 with a zone, NaN and infinity as None."""
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
