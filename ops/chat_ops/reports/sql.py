"""The report `sql`: any question, of the view `lines`.

Knows which statements are let through. Must not know how they are answered.
"""

import argparse
from typing import Final

from chat_ops.log.event_log import Log
from chat_ops.table import Column, Kind, Table

HELP: Final = "answer a question in SQL (DuckDB) of the view `lines`: its columns are the fields of the log"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the question."""
    parser.add_argument(
        "question", metavar="SELECT", help='e.g. "select event, count(*) from lines group by 1"'
    )


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the answer."""
    names, rows = log.answer(args.question)
    columns = [Column(name, name, _kind(kind)) for name, kind in names]
    return [Table("sql", "", columns, rows)]


def _kind(duckdb_type: str) -> Kind:
    if duckdb_type.startswith("TIMESTAMP"):
        return "time"
    numbers = ("BIGINT", "INTEGER", "HUGEINT", "UBIGINT", "SMALLINT", "TINYINT", "DOUBLE", "FLOAT", "DECIMAL")
    return "count" if duckdb_type.startswith(numbers) else "text"
