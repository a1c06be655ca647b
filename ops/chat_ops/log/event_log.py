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
from chat_ops.log.columns import COLUMNS, FILE
from chat_ops.log.errors import UsageError
from chat_ops.log.filters import NO_FILTERS, Filters
from chat_ops.table import Row
from chat_server.vocabulary import COMMON, LogEvent

MEMORY: Final = "1GB"
"""What DuckDB may use; beyond it, it spills to the temporary folder. Python and numpy come on top."""
MOST_THREADS: Final = 8
"""Each thread has buffers of twice the longest line."""
MANY: Final = (LogEvent.SESSION_OPENED, LogEvent.SESSION_CLOSED, LogEvent.MESSAGE)
Answer = tuple[list[tuple[str, str]], list[Row]]
"""Names and DuckDB types of the columns, and the rows."""
LONGEST_LINES: Final = (1 << 24, 1 << 27)
"""Bytes: the bound that is tried first, and the one for a log that breaks it (with fewer threads then)."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to read, whatever is asked for."""

    lines: int
    """Good and bad; blank ones aside."""
    bad: int
    first: datetime | None
    last: datetime | None


class Log:
    """Lines of one or more files, as the view `lines`; a context manager."""

    def __init__(
        self,
        files: Sequence[str],
        filters: Filters = NO_FILTERS,
        *,
        anonymize_key: str | None = None,
        memory: str = MEMORY,
        threads: int = 0,
    ) -> None:
        self.filters = filters
        self.anonymous = anonymize_key is not None
        self._extent: Extent | None = None
        self._worker = ThreadPoolExecutor(1, "duckdb")
        self._few: dict[str, frozenset[str]] = {}  # tables of the few lines, and their columns
        self._bad: int | None = None
        # For copies of pipes, and for what does not fit into the memory.
        self._folder = tempfile.TemporaryDirectory(prefix="chat-logs-", ignore_cleanup_errors=True)
        try:
            self.sources = input_files.find(files, Path(self._folder.name))
            self._threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
            self._db = _connect(memory, self._threads, self._folder.name)
            if anonymize_key is not None:
                self._db.execute(f"SET VARIABLE {anonymize.VARIABLE} = {sql_views.literal(anonymize_key)}")
                self._db.execute(anonymize.MACROS)
            self._make_views(0)
            self._inspection = compression_check.Inspection(self.sources, self._threads)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inspection.end()
        self._worker.shutdown()
        self._db.close()
        self._folder.cleanup()

    def rows(self, sql: str, *params: object) -> list[Row]:
        """Return the answer to a question about `lines`; `?` stands for a parameter."""
        return self._ask(sql, params)[1]

    def answer(self, question: str) -> Answer:
        """Answer a person's question, which may only read; with the columns' names and DuckDB's types.

        From then on nothing but the log's files can be reached. Raises UsageError.
        """
        try:
            statements = self._db.extract_statements(question)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise UsageError("ask with one SELECT: nothing is changed here")
            self._db.execute(
                "SET preserve_insertion_order = true"
            )  # `from lines limit 3` are the first three
            self._lock()
            # What may stand in a view cannot write: a WITH that inserts, or copies to a file, may not.
            self._db.execute(f"CREATE TEMP VIEW question AS {question}")
            self._db.execute("DROP VIEW question")
            return self._ask(question, ())
        except duckdb.Error as error:
            raise UsageError(str(error)) from None

    def keep(self, name: str, sql: str, *params: object) -> None:
        """Make a table of an answer, for further questions: the files need not be read again."""
        self._ask(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}", params)

    def few(self, *columns: str) -> str:
        """Return the name of a table of all `lines` but those of one session or message each.

        Those are nearly all of a log; a report that asks several questions of the others asks them of this.
        It has the columns that are named, those of every line (vocabulary.COMMON), and perhaps more; all, if
        none is named. Each column takes its time to read, so a report names those that it and its parts need.
        """
        wanted = frozenset((*COMMON, *columns) if columns else (*COLUMNS, FILE))
        for name, there in self._few.items():
            if wanted <= there:
                return name
        name = f"few_{len(self._few)}"
        chosen = ", ".join(column for column in (*COLUMNS, FILE) if column in wanted)
        many = f"event IN ({', '.join(sql_views.literal(event) for event in MANY)})"
        if self._whole:  # the bad lines come along, so that nobody need count them in a pass of their own
            self.keep(name, f"SELECT {chosen} FROM raw WHERE NOT ({sql_views.GOOD} AND {many})")
            self._bad = int(self.rows(f"SELECT count(*) FROM {name} WHERE NOT ({sql_views.GOOD})")[0][0])
            self._ask(f"DELETE FROM {name} WHERE NOT ({sql_views.GOOD})", ())
        else:
            self.keep(name, f"SELECT {chosen} FROM lines WHERE NOT ({many})")
        self._few[name] = wanted
        return name

    @property
    def regardless(self) -> str:
        """Name of the view of all lines of the times and nodes asked for, of whatever user or room."""
        if not (self.filters.users or self.filters.room):
            return "lines"
        filters = replace(self.filters, users=(), room="")
        self._db.execute(
            f"CREATE OR REPLACE TEMP VIEW regardless AS {sql_views.lines(filters, masked=self.anonymous)}"
        )
        return "regardless"

    @property
    def _whole(self) -> bool:
        """Whether `lines` are all good lines of `raw`, as they are."""
        return self.filters == NO_FILTERS and not self.anonymous

    @property
    def extent(self) -> Extent:
        """How much there is to read; asking costs a pass over the files, the first time."""
        if self._extent is None:
            bad = f"count(*) FILTER (NOT ({sql_views.GOOD}))"
            self._extent = Extent(*self.rows(f"SELECT count(*), {bad}, min(ts), max(ts) FROM raw")[0])
        return self._extent

    def learn(self, good: int, first: datetime | None, last: datetime | None) -> None:
        """Take a report's count of all `lines` for the extent, where no filter left any out."""
        if self._extent is None and self.filters == NO_FILTERS:
            if self._bad is None:
                total = int(self.rows("SELECT count(*) FROM raw")[0][0])  # nothing need be parsed for this
                self._bad = total - good
            self._extent = Extent(good + self._bad, self._bad, first, last)

    @property
    def bad(self) -> int:
        """How many lines of the files are no log lines."""
        return self.extent.bad

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """Times of the first and of the last line of the files."""
        return self.extent.first, self.extent.last

    def bad_ordinals(self, source: input_files.Source, most: int) -> list[int]:
        """Return which lines of a file are no log lines, counted from 1 without the blank ones."""
        every = sql_views.raw([source], LONGEST_LINES[-1])
        numbered = f"SELECT row_number() OVER () AS n, ts, event FROM ({every})"
        self._db.execute("SET preserve_insertion_order = true")  # for row_number
        found = self.rows(f"SELECT n FROM ({numbered}) WHERE NOT ({sql_views.GOOD}) ORDER BY n LIMIT {most}")
        return [n for (n,) in found]

    def _lock(self) -> None:
        """Let questions read nothing but `lines` from now on; there is no way back.

        Where the log is anonymous, its lines are copied first, and what could tell the originals is dropped.
        """
        _ = self.extent  # it reads the files, which may be out of reach afterwards
        if self.anonymous:
            self.keep("shown", "SELECT * FROM lines")
            self._db.execute("DROP VIEW lines; DROP VIEW raw")
            self._db.execute(f"RESET VARIABLE {anonymize.VARIABLE}")
            self._db.execute("CREATE TEMP VIEW lines AS SELECT * FROM shown")
        else:
            paths = ", ".join(sql_views.literal(source.path) for source in self.sources)
            self._db.execute(f"SET allowed_paths = [{paths}]")
        self._db.execute("SET enable_external_access = false; SET lock_configuration = true")

    def _make_views(self, size: int) -> None:
        self._size = size
        self._db.execute(f"CREATE OR REPLACE VIEW raw AS {sql_views.raw(self.sources, LONGEST_LINES[size])}")
        self._db.execute(
            f"CREATE OR REPLACE VIEW lines AS {sql_views.lines(self.filters, masked=self.anonymous)}"
        )

    def _ask(self, sql: str, params: Sequence[object]) -> Answer:
        """Return an answer that no damaged file has a part in."""
        self._inspection.begin()
        try:
            answer = self._read(sql, params)
        except UsageError:
            self._inspection.judge()  # a damaged file explains it better
            raise
        self._inspection.judge()
        return answer

    def _read(self, sql: str, params: Sequence[object]) -> Answer:
        with _explained():
            try:
                return self._fetch(sql, params)
            except duckdb.IOException:
                self._blame()
                raise
            except duckdb.InvalidInputException as error:
                if "maximum_object_size" not in str(error) or self._size + 1 == len(LONGEST_LINES):
                    raise
                self._db.execute("SET threads = 1")
                self._make_views(self._size + 1)
                return self._fetch(sql, params)

    def _blame(self) -> None:
        """Find the packed file that DuckDB cannot unpack, though its frame is whole: it does not name it."""
        for source in self.sources:
            if source.compression == "none" or compression_check.damage(source):
                continue
            try:
                self._fetch(f"SELECT count(*) FROM ({sql_views.raw([source], LONGEST_LINES[-1])})", ())
            except duckdb.IOException as error:
                what = "its checksum is wrong" if "checksum" in str(error) else "unpacking fails on the way"
                raise UsageError(compression_check.told(source, what)) from None

    def _fetch(self, sql: str, params: Sequence[object]) -> Answer:
        """Run a question in a thread: DuckDB would let a Ctrl-C of its own thread wait for seconds."""
        running = self._worker.submit(self._run, sql, params)
        try:
            return running.result()
        except KeyboardInterrupt:
            self._db.interrupt()
            running.exception()  # it ends within milliseconds
            raise

    def _run(self, sql: str, params: Sequence[object]) -> Answer:
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
def _explained() -> Iterator[None]:
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
            raise UsageError(_short(error)) from None
        raise UsageError(f"a line is longer than {LONGEST_LINES[-1] >> 20} MiB: {error}") from None
    except duckdb.Error as error:
        raise UsageError(_short(error)) from None


def _short(error: duckdb.Error) -> str:
    return f"the log cannot be asked this: {str(error).splitlines()[0]}"
