"""The log as a table that can be asked: DuckDB reads the files and answers, in bounded memory.

Knows DuckDB and the view `lines`. Must not know reports, nor how anything is shown.
"""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import duckdb

from chat_ops.columns import COLUMNS, FILE
from chat_ops.filters import NO_FILTERS, Filters
from chat_ops.table import Row

MEMORY: Final = "1GB"


class Log:
    """Lines of one or more files, as the view `lines`; a context manager."""

    def __init__(self, files: Sequence[str], filters: Filters = NO_FILTERS) -> None:
        self.files = tuple(files)
        self.filters = filters
        self._db = duckdb.connect(config={"memory_limit": MEMORY})
        self._extent: tuple[int, int, datetime | None, datetime | None] | None = None
        types = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
        paths = ", ".join("'" + path.replace("'", "''") + "'" for path in self.files)
        self._db.execute(
            f"CREATE VIEW raw AS SELECT * FROM read_json([{paths}], format='newline_delimited',"  # noqa: S608
            f" filename='{FILE}', ignore_errors=true, columns={{{types}}})"
        )
        self._db.execute("CREATE VIEW lines AS SELECT * FROM raw WHERE ts IS NOT NULL AND event IS NOT NULL")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def rows(self, sql: str, *params: object) -> list[Row]:
        """Return the answer to a question about `lines`; `?` stands for a parameter."""
        answer: list[Row] = self._db.execute(sql, list(params)).fetchall()
        return answer

    def keep(self, name: str, sql: str, *params: object) -> None:
        """Make a table of an answer, for further questions: the files need not be read again."""
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", list(params))  # noqa: S608

    def _measure(self) -> tuple[Any, ...]:
        if self._extent is None:
            self._extent = self._db.execute(
                "SELECT count(*), count(*) FILTER (ts IS NULL OR event IS NULL), min(ts), max(ts) FROM raw"
            ).fetchall()[0]
        return self._extent

    @property
    def total(self) -> int:
        """How many lines the files have, blank ones aside."""
        return int(self._measure()[0])

    @property
    def bad(self) -> int:
        """How many of them are no log lines."""
        return int(self._measure()[1])

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """Times of the first and of the last line."""
        return self._measure()[2:]
