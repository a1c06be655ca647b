"""The log as a table that can be asked: DuckDB reads the files and answers, in bounded memory.

Knows DuckDB. Must not know reports, nor how anything is shown.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import duckdb

from chat_ops.log import anonymize, compression_check, input_files, sql_views
from chat_ops.log.columns import COLUMNS, FILE_COLUMN
from chat_ops.log.errors import UsageError
from chat_ops.log.filters import NO_FILTERS, Filters
from chat_ops.table import Row
from chat_server.vocabulary import COMMON, LogEvent

DEFAULT_MEMORY: Final = "1GB"
"""What DuckDB may use; beyond it, it spills to the temporary folder. Python and numpy come on top."""
MAX_THREADS: Final = 8
"""Each thread has buffers of twice the longest line."""
FREQUENT_EVENTS: Final = (LogEvent.SESSION_OPENED, LogEvent.SESSION_CLOSED, LogEvent.MESSAGE)
QueryResult = tuple[list[tuple[str, str]], list[Row]]
"""Names and DuckDB types of the columns, and the rows."""
LINE_LIMITS_BYTES: Final = (1 << 24, 1 << 27)
"""Bytes: the bound that is tried first, and the one for a log that breaks it (with fewer threads then)."""


@dataclass(frozen=True, slots=True)
class LogExtent:
    """How much there is to read, whatever is asked for."""

    lines: int
    """Good and bad; blank ones aside."""
    bad_lines: int
    first: datetime | None
    last: datetime | None


class EventLog:
    """Lines of one or more files, as the view `lines`; a context manager."""

    def __init__(
        self,
        files: Sequence[str],
        filters: Filters = NO_FILTERS,
        *,
        anonymize_key: str | None = None,
        memory: str = DEFAULT_MEMORY,
        threads: int = 0,
    ) -> None:
        self.filters = filters
        self.anonymous = anonymize_key is not None
        self._extent: LogExtent | None = None
        self._worker = ThreadPoolExecutor(1, "duckdb")
        self._rare_tables: dict[str, frozenset[str]] = {}  # tables of the few lines, and their columns
        self._bad_lines: int | None = None
        # For copies of pipes, and for what does not fit into the memory.
        self._folder = tempfile.TemporaryDirectory(prefix="chat-logs-", ignore_cleanup_errors=True)
        try:
            self.input_files = input_files.find_input_files(files, Path(self._folder.name))
            self._threads = threads or min(os.cpu_count() or 1, MAX_THREADS)
            self._db = _connect(memory, self._threads, self._folder.name)
            if anonymize_key is not None:
                self._db.execute(
                    f"SET VARIABLE {anonymize.KEY_VARIABLE} = {sql_views.sql_literal(anonymize_key)}"
                )
                self._db.execute(anonymize.MACROS)
            self._make_views(0)
            self._compression_check = compression_check.CompressionCheck(self.input_files, self._threads)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compression_check.stop()
        self._worker.shutdown()
        self._db.close()
        self._folder.cleanup()

    def rows(self, sql: str, *params: object) -> list[Row]:
        """Return the answer to a question about `lines`; `?` stands for a parameter."""
        return self._query(sql, params)[1]

    def run_user_query(self, sql: str) -> QueryResult:
        """Answer a person's question, which may only read; with the columns' names and DuckDB's types.

        From then on nothing but the log's files can be reached. Raises UsageError.
        """
        try:
            statements = self._db.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise UsageError("ask with one SELECT: nothing is changed here")
            self._db.execute(
                "SET preserve_insertion_order = true"
            )  # `from lines limit 3` are the first three
            self._restrict_access()
            # What may stand in a view cannot write: a WITH that inserts, or copies to a file, may not.
            self._db.execute(f"CREATE TEMP VIEW question AS {sql}")
            self._db.execute("DROP VIEW question")
            return self._query(sql, ())
        except duckdb.Error as error:
            raise UsageError(str(error)) from None

    def materialise(self, name: str, sql: str, *params: object) -> None:
        """Make a table of an answer, for further questions: the files need not be read again."""
        self._query(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", params)

    def rare_events(self, *columns: str) -> str:
        """Return the name of a table of all `lines` but those of one session or message each.

        Those are nearly all of a log; a report that asks several questions of the others asks them of this.
        It has the columns that are named, those of every line (vocabulary.COMMON), and perhaps more; all, if
        none is named. Each column takes its time to read, so a report names those that it and its parts need.
        """
        wanted = frozenset((*COMMON, *columns) if columns else (*COLUMNS, FILE_COLUMN))
        for name, columns_there in self._rare_tables.items():
            if wanted <= columns_there:
                return name
        name = f"rare_{len(self._rare_tables)}"
        chosen = ", ".join(column for column in (*COLUMNS, FILE_COLUMN) if column in wanted)
        is_frequent = f"event IN ({', '.join(sql_views.sql_literal(event) for event in FREQUENT_EVENTS)})"
        if (
            self._unfiltered
        ):  # the bad lines come along, so that nobody need count them in a pass of their own
            self.materialise(
                name, f"SELECT {chosen} FROM raw WHERE NOT ({sql_views.IS_LOG_LINE} AND {is_frequent})"
            )
            self._bad_lines = int(
                self.rows(f"SELECT count(*) FROM {name} WHERE NOT ({sql_views.IS_LOG_LINE})")[0][0]
            )
            self._query(f"DELETE FROM {name} WHERE NOT ({sql_views.IS_LOG_LINE})", ())
        else:
            self.materialise(name, f"SELECT {chosen} FROM lines WHERE NOT ({is_frequent})")
        self._rare_tables[name] = wanted
        return name

    @property
    def view_of_all_names(self) -> str:
        """Name of the view of all lines of the times and nodes asked for, of whatever user or room."""
        if not (self.filters.users or self.filters.room):
            return "lines"
        filters = replace(self.filters, users=(), room="")
        self._db.execute(
            f"CREATE OR REPLACE TEMP VIEW all_names AS {sql_views.lines_view(filters, masked=self.anonymous)}"
        )
        return "all_names"

    @property
    def _unfiltered(self) -> bool:
        """Whether `lines` are all good lines of `raw`, as they are."""
        return self.filters == NO_FILTERS and not self.anonymous

    @property
    def extent(self) -> LogExtent:
        """How much there is to read; asking costs a pass over the files, the first time."""
        if self._extent is None:
            bad = f"count(*) FILTER (NOT ({sql_views.IS_LOG_LINE}))"
            self._extent = LogExtent(*self.rows(f"SELECT count(*), {bad}, min(ts), max(ts) FROM raw")[0])
        return self._extent

    def set_extent(self, good: int, first: datetime | None, last: datetime | None) -> None:
        """Take a report's count of all `lines` for the extent, where no filter left any out."""
        if self._extent is None and self.filters == NO_FILTERS:
            if self._bad_lines is None:
                total = int(self.rows("SELECT count(*) FROM raw")[0][0])  # nothing need be parsed for this
                self._bad_lines = total - good
            self._extent = LogExtent(good + self._bad_lines, self._bad_lines, first, last)

    @property
    def bad_lines(self) -> int:
        """How many lines of the files are no log lines."""
        return self.extent.bad_lines

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """Times of the first and of the last line of the files."""
        return self.extent.first, self.extent.last

    def bad_ordinals(self, source: input_files.InputFile, limit: int) -> list[int]:
        """Return which lines of a file are no log lines, counted from 1 without the blank ones."""
        every = sql_views.raw_view([source], LINE_LIMITS_BYTES[-1])
        numbered = f"SELECT row_number() OVER () AS n, ts, event FROM ({every})"
        self._db.execute("SET preserve_insertion_order = true")  # for row_number
        found = self.rows(
            f"SELECT n FROM ({numbered}) WHERE NOT ({sql_views.IS_LOG_LINE}) ORDER BY n LIMIT {limit}"
        )
        return [n for (n,) in found]

    def _restrict_access(self) -> None:
        """Let questions read nothing but `lines` from now on; there is no way back.

        Where the log is anonymous, its lines are copied first, and what could tell the originals is dropped.
        """
        _ = self.extent  # it reads the files, which may be out of reach afterwards
        if self.anonymous:
            self.materialise("shown", "SELECT * FROM lines")
            self._db.execute("DROP VIEW lines; DROP VIEW raw")
            self._db.execute(f"RESET VARIABLE {anonymize.KEY_VARIABLE}")
            self._db.execute("CREATE TEMP VIEW lines AS SELECT * FROM shown")
        else:
            paths = ", ".join(sql_views.sql_literal(source.path) for source in self.input_files)
            self._db.execute(f"SET allowed_paths = [{paths}]")
        self._db.execute("SET enable_external_access = false; SET lock_configuration = true")

    def _make_views(self, limit_index: int) -> None:
        self._limit_index = limit_index
        self._db.execute(
            "CREATE OR REPLACE VIEW raw AS"
            f" {sql_views.raw_view(self.input_files, LINE_LIMITS_BYTES[limit_index])}"
        )
        self._db.execute(
            f"CREATE OR REPLACE VIEW lines AS {sql_views.lines_view(self.filters, masked=self.anonymous)}"
        )

    def _query(self, sql: str, params: Sequence[object]) -> QueryResult:
        """Return an answer that no damaged file has a part in."""
        self._compression_check.start()
        try:
            answer = self._query_retrying_long_lines(sql, params)
        except UsageError:
            self._compression_check.raise_if_damaged()  # a damaged file explains it better
            raise
        self._compression_check.raise_if_damaged()
        return answer

    def _query_retrying_long_lines(self, sql: str, params: Sequence[object]) -> QueryResult:
        with _as_usage_errors():
            try:
                return self._execute_in_worker(sql, params)
            except duckdb.IOException:
                self._name_damaged_file()
                raise
            except duckdb.InvalidInputException as error:
                if "maximum_object_size" not in str(error) or self._limit_index + 1 == len(LINE_LIMITS_BYTES):
                    raise
                self._db.execute("SET threads = 1")
                self._make_views(self._limit_index + 1)
                return self._execute_in_worker(sql, params)

    def _name_damaged_file(self) -> None:
        """Find the packed file that DuckDB cannot unpack, though its frame is whole: it does not name it."""
        for source in self.input_files:
            if source.compression == "none" or compression_check.find_damage(source):
                continue
            try:
                self._execute_in_worker(
                    f"SELECT count(*) FROM ({sql_views.raw_view([source], LINE_LIMITS_BYTES[-1])})", ()
                )
            except duckdb.IOException as error:
                what = "its checksum is wrong" if "checksum" in str(error) else "unpacking fails on the way"
                raise UsageError(compression_check.damage_message(source, what)) from None

    def _execute_in_worker(self, sql: str, params: Sequence[object]) -> QueryResult:
        """Run a question in a thread: DuckDB would let a Ctrl-C of its own thread wait for seconds."""
        running = self._worker.submit(self._execute, sql, params)
        try:
            return running.result()
        except KeyboardInterrupt:
            self._db.interrupt()
            running.exception()  # it ends within milliseconds
            raise

    def _execute(self, sql: str, params: Sequence[object]) -> QueryResult:
        asked = self._db.execute(sql, list(params))
        columns = [(str(name), str(kind)) for name, kind, *_ in asked.description or ()]
        return columns, asked.fetchall()  # files are read up to here


def _connect(memory: str, threads: int, folder: str) -> duckdb.DuckDBPyConnection:
    try:
        db = duckdb.connect(
            config={
                "memory_limit": memory,
                "threads": threads,
                "temp_directory": folder,
                "autoinstall_known_extensions": False,  # nothing is fetched from anywhere
                "autoload_known_extensions": False,
            }
        )
        db.execute("SET TimeZone = 'UTC'")  # of a time that names no zone
        db.execute("SET preserve_insertion_order = false")  # reports sort; all threads may fill a table
    except duckdb.Error as error:
        raise UsageError(str(error).splitlines()[0]) from None
    return db


@contextlib.contextmanager
def _as_usage_errors() -> Iterator[None]:
    """Say in a sentence what only the person can mend."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise UsageError(
            "the memory does not suffice: give more with --memory, or ask for less time"
        ) from None
    except duckdb.IOException as error:
        raise UsageError(f"reading failed: {str(error).splitlines()[0]}") from None
    except duckdb.InvalidInputException as error:
        if "maximum_object_size" not in str(error):
            raise UsageError(_query_error(error)) from None
        raise UsageError(f"a line is longer than {LINE_LIMITS_BYTES[-1] >> 20} MiB: {error}") from None
    except duckdb.Error as error:
        raise UsageError(_query_error(error)) from None


def _query_error(error: duckdb.Error) -> str:
    return f"the log cannot be asked this: {str(error).splitlines()[0]}"
