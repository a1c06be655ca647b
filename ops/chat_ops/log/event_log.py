"""The event log as a table: DuckDB reads the files and runs queries, in bounded memory.

Queries MUST run in the worker thread (`_execute_in_worker`): DuckDB delays a Ctrl-C of its own thread for
seconds.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import duckdb

from chat_ops.log import anonymize, compression_check, input_files, long_lines, sql_views
from chat_ops.log.columns import COLUMNS, FILE_COLUMN
from chat_ops.log.errors import UsageError
from chat_ops.log.filters import NO_FILTERS, Filters
from chat_ops.log.temporary_folder import TemporaryFolder
from chat_ops.table import Row
from chat_server.vocabulary import COMMON, LogEvent

DEFAULT_MEMORY: Final = "1GB"
"""DuckDB's memory limit; beyond it, it spills to the temporary folder. Python and numpy come on top."""
MAX_THREADS: Final = 8
"""Each thread allocates buffers of twice the longest line."""
FREQUENT_EVENTS: Final = (LogEvent.SESSION_OPENED, LogEvent.SESSION_CLOSED, LogEvent.MESSAGE)
QueryResult = tuple[list[tuple[str, str]], list[Row]]
"""Column names with their DuckDB types, and the rows."""
LINE_LIMITS_BYTES: Final = (1 << 24, 1 << 27)
"""Longest line in bytes: the limit tried first, and the one for a log that exceeds it (then one thread)."""


@dataclass(frozen=True, slots=True)
class LogExtent:
    """Size and period of the whole log, before any filter."""

    lines: int
    """Log lines and bad lines; blank ones do not count."""
    bad_lines: int
    first: datetime | None
    last: datetime | None


class EventLog:
    """Lines of one or more files, as the view `lines`; a context manager.

    Raises `UsageError` if no file can be read.
    """

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
        self._rare_tables: dict[str, frozenset[str]] = {}  # tables of the rare events, and their columns
        self._bad_lines: int | None = None
        self._shortened = False  # whether `input_files` are copies without overlong lines
        self._folder = TemporaryFolder()
        try:
            self.input_files = input_files.find_input_files(files, self._folder)
            self._threads = threads or min(os.cpu_count() or 1, MAX_THREADS)
            self._db = _connect(memory, self._threads, self._folder.spill_path)
            if anonymize_key is not None:
                self._db.execute(
                    f"SET VARIABLE {anonymize.KEY_VARIABLE} = {sql_views.sql_literal(anonymize_key)}"
                )
                self._db.execute(anonymize.MACROS)
            self._make_views(0)
            self._compression_check = compression_check.CompressionCheck(self.input_files, self._threads)
        except BaseException:
            self._folder.remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compression_check.stop()
        self._worker.shutdown()
        self._db.close()
        self._folder.remove()

    def rows(self, sql: str, *params: object) -> list[Row]:
        """Run a query on `lines` and return its rows; each `?` is a parameter. Raises `UsageError`."""
        return self._query(sql, params)[1]

    def run_user_query(self, sql: str) -> QueryResult:
        """Run a user's query, which must be one SELECT; return columns (with DuckDB types) and rows.

        Afterwards nothing but the log's files is accessible. Raises `UsageError`.
        """
        if not sql.isascii() and any("\ud800" <= char <= "\udfff" for char in sql):
            raise UsageError(f"the query is not valid text in this locale: {sql!a}")
        try:
            statements = self._db.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise UsageError("give one SELECT statement: the log cannot be changed")
            self._db.execute(
                "SET preserve_insertion_order = true"
            )  # `from lines limit 3` are the first three
            self._restrict_access()
            # A view cannot write: this rejects a WITH that inserts or copies to a file.
            self._db.execute(f"CREATE TEMP VIEW question AS {sql}")
            self._db.execute("DROP VIEW question")
            return self._query(sql, ())
        except duckdb.Error as error:
            raise UsageError(_whole_error(error)) from None

    def materialise(self, name: str, sql: str, *params: object) -> None:
        """Store a query's result as a temp table, so that later queries need not read the files."""
        self._query(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", params)

    def rare_events(self, *columns: str) -> str:
        """Return a temp table of all events but per-session and per-message ones (nearly all of a log).

        The table has at least `columns` and those of every line (vocabulary.COMMON); all columns if none is
        given. Each column costs reading time, so a report names those that it needs. Tables are cached.
        """
        wanted = frozenset((*COMMON, *columns) if columns else (*COLUMNS, FILE_COLUMN))
        for name, columns_there in self._rare_tables.items():
            if wanted <= columns_there:
                return name
        name = f"rare_{len(self._rare_tables)}"
        chosen = ", ".join(column for column in (*COLUMNS, FILE_COLUMN) if column in wanted)
        is_frequent = f"event IN ({', '.join(sql_views.sql_literal(event) for event in FREQUENT_EVENTS)})"
        if self._unfiltered:  # includes the bad lines, to count them without another pass
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
        """Name of a view of `lines` without the filters by user and room; those by time and node hold."""
        if not (self.filters.users or self.filters.room):
            return "lines"
        filters = replace(self.filters, users=(), room="")
        self._db.execute(
            f"CREATE OR REPLACE TEMP VIEW all_names AS {sql_views.lines_view(filters, masked=self.anonymous)}"
        )
        return "all_names"

    @property
    def _unfiltered(self) -> bool:
        """Whether `lines` is every log line of `raw`, unchanged."""
        return self.filters == NO_FILTERS and not self.anonymous

    @property
    def extent(self) -> LogExtent:
        """Size and period of the log; the first access costs a pass over the files."""
        if self._extent is None:
            bad = f"count(*) FILTER (NOT ({sql_views.IS_LOG_LINE}))"
            self._extent = LogExtent(*self.rows(f"SELECT count(*), {bad}, min(ts), max(ts) FROM raw")[0])
        return self._extent

    def set_extent(self, good: int, first: datetime | None, last: datetime | None) -> None:
        """Set the extent from a report's own count of `lines`; ignored if a filter is set."""
        if self._extent is None and self.filters == NO_FILTERS:
            if self._bad_lines is None:
                total = int(self.rows("SELECT count(*) FROM raw")[0][0])  # needs no parsing
                self._bad_lines = total - good
            self._extent = LogExtent(good + self._bad_lines, self._bad_lines, first, last)

    def require_log_lines(self) -> None:
        """Raise `UsageError` if the files have lines, and none of them is a log line."""
        extent = self.extent
        if extent.lines and extent.lines == extent.bad_lines:
            names = ", ".join(source.name for source in self.input_files)
            raise UsageError(
                f"none of the {extent.lines} lines of {names} is a log line of Greenroom"
                " (--bad-lines says why): is it another file?"
            )

    @property
    def bad_lines(self) -> int:
        """How many lines of the files are not log lines."""
        return self.extent.bad_lines

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """Times of the first and the last line of the files; None if there are no lines."""
        return self.extent.first, self.extent.last

    def bad_ordinals(self, source: input_files.InputFile, limit: int) -> list[int]:
        """Return the numbers of a file's first `limit` bad lines, counted from 1 without the blank ones."""
        every = sql_views.raw_view([source], LINE_LIMITS_BYTES[-1])
        numbered = f"SELECT row_number() OVER () AS n, ts, event FROM ({every})"
        self._db.execute("SET preserve_insertion_order = true")  # for row_number
        found = self.rows(
            f"SELECT n FROM ({numbered}) WHERE NOT ({sql_views.IS_LOG_LINE}) ORDER BY n LIMIT {limit}"
        )
        return [n for (n,) in found]

    def _restrict_access(self) -> None:
        """Restrict queries to `lines`, irreversibly.

        An anonymous log is copied first, and everything that has the originals is dropped.
        """
        _ = self.extent  # reads the files, which may be inaccessible afterwards
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
        """Run a query and return its result. Raises `UsageError` if a compressed file is damaged."""
        self._compression_check.start()
        try:
            answer = self._query_retrying_long_lines(sql, params)
        except UsageError:
            self._compression_check.raise_if_damaged()  # a damaged file is the better explanation
            raise
        self._compression_check.raise_if_damaged()
        return answer

    def _query_retrying_long_lines(self, sql: str, params: Sequence[object]) -> QueryResult:
        with _as_usage_errors():
            while True:
                try:
                    return self._execute_in_worker(sql, params)
                except duckdb.IOException:
                    self._name_damaged_file()
                    raise
                except duckdb.InvalidInputException as error:
                    if "maximum_object_size" not in str(error) or self._shortened:
                        raise
                    self._admit_longer_lines()

    def _admit_longer_lines(self) -> None:
        """Raise the limit of a line; beyond the last one, read copies in which longer lines are cut."""
        if self._limit_index + 1 < len(LINE_LIMITS_BYTES):
            self._db.execute("SET threads = 1")
            self._make_views(self._limit_index + 1)
            return
        self._shortened = True
        self.input_files = long_lines.shortened_copies(self.input_files, LINE_LIMITS_BYTES[-1], self._folder)
        self._make_views(self._limit_index)

    def _name_damaged_file(self) -> None:
        """Raise `UsageError` with the name of the file that DuckDB cannot decompress."""
        for source in self.input_files:
            if source.compression == "none" or compression_check.find_damage(source):
                continue
            try:
                self._execute_in_worker(
                    f"SELECT count(*) FROM ({sql_views.raw_view([source], LINE_LIMITS_BYTES[-1])})", ()
                )
            except duckdb.IOException as error:
                what = "its checksum is wrong" if "checksum" in str(error) else "decompression fails"
                raise UsageError(compression_check.damage_message(source, what)) from None

    def _execute_in_worker(self, sql: str, params: Sequence[object]) -> QueryResult:
        """Run a query in the worker thread, so that Ctrl-C interrupts it at once."""
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
        return columns, asked.fetchall()  # reads the files


def _connect(memory: str, threads: int, folder: str) -> duckdb.DuckDBPyConnection:
    try:
        db = duckdb.connect(
            config={
                "memory_limit": memory,
                "threads": threads,
                "temp_directory": folder,
                "autoinstall_known_extensions": False,  # no downloads
                "autoload_known_extensions": False,
            }
        )
        db.execute("SET TimeZone = 'UTC'")  # for times without a zone
        db.execute("SET preserve_insertion_order = false")  # reports sort; all threads may fill a table
    except duckdb.Error as error:
        raise UsageError(str(error).splitlines()[0]) from None
    return db


@contextlib.contextmanager
def _as_usage_errors() -> Iterator[None]:
    """Turn DuckDB's errors into a `UsageError` that says what to do."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise UsageError(
            "out of memory, or no space for temporary files: raise --memory, choose a shorter time,"
            " or set TMPDIR"
        ) from None
    except duckdb.IOException as error:
        raise UsageError(f"reading failed: {str(error).splitlines()[0]}") from None
    except duckdb.InvalidInputException as error:
        if "maximum_object_size" not in str(error):
            raise UsageError(_query_error(error)) from None
        raise UsageError(f"a line is longer than {LINE_LIMITS_BYTES[-1] >> 20} MiB: {error}") from None
    except duckdb.Error as error:
        raise UsageError(_query_error(error)) from None


def _whole_error(error: duckdb.Error) -> str:
    """Return the lines of an error in one, without the query itself and the mark below the place."""
    lines = (line.strip() for line in str(error).splitlines() if not line.startswith("LINE "))
    return " ".join(line for line in lines if line.strip(" ^"))


def _query_error(error: duckdb.Error) -> str:
    return f"the query failed: {str(error).splitlines()[0]}"
