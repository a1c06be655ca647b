"""The report `sql`: any question, of the view `lines`.

Knows which statements are let through. Must not know how they are answered.
"""

import argparse
from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.table import ColumnKind, ReportColumn, ReportTable

HELP: Final = "answer a question in SQL (DuckDB) of the view `lines`: its columns are the fields of the log"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the question."""
    parser.add_argument(
        "question", metavar="SELECT", help='e.g. "select event, count(*) from lines group by 1"'
    )


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the answer."""
    names, rows = log.run_user_query(args.question)
    columns = [ReportColumn(name, name, _kind(kind)) for name, kind in names]
    return [ReportTable("sql", "", columns, rows)]


def _kind(duckdb_type: str) -> ColumnKind:
    if duckdb_type.startswith("TIMESTAMP"):
        return "time"
    numbers = ("BIGINT", "INTEGER", "HUGEINT", "UBIGINT", "SMALLINT", "TINYINT", "DOUBLE", "FLOAT", "DECIMAL")
    return "count" if duckdb_type.startswith(numbers) else "text"
