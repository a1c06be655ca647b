"""The report `sql`: a user's query on the view `lines`."""

import argparse
from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.table import ColumnKind, ReportColumn, ReportTable

HELP: Final = "run a SQL query (DuckDB) on the view `lines`, whose columns are the fields of the log"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the query."""
    parser.add_argument(
        "question", metavar="SELECT", help='e.g. "select event, count(*) from lines group by 1"'
    )


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the result. Raises `UsageError` if the query is not one SELECT, or fails."""
    names, rows = log.run_user_query(args.question)
    columns = [ReportColumn(name, name, _kind(kind)) for name, kind in names]
    return [ReportTable("sql", "", columns, rows)]


def _kind(duckdb_type: str) -> ColumnKind:
    if duckdb_type.startswith("TIMESTAMP"):
        return "time"
    numbers = ("BIGINT", "INTEGER", "HUGEINT", "UBIGINT", "SMALLINT", "TINYINT", "DOUBLE", "FLOAT", "DECIMAL")
    return "count" if duckdb_type.startswith(numbers) else "text"
