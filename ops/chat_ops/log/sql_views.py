"""DuckDB views of the log: `raw` has every line as far as it parses, `lines` the filtered log lines.

DuckDB parses a column only when a query uses it, so the views have all of them.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

from collections.abc import Sequence
from typing import Final

from chat_ops.log import anonymize
from chat_ops.log.columns import COLUMNS, COUNTS, FILE_COLUMN, INTEGER, REAL, ROOMS, TIME
from chat_ops.log.filters import Filters
from chat_ops.log.input_files import InputFile

IS_LOG_LINE: Final = "ts IS NOT NULL AND event IS NOT NULL"
"""SQL condition. A line that does not parse, is not an object, or has no time or event gives NULLs here.
A field with a wrong type or too large a number counts as absent."""

_IN_RANGE: Final = "BETWEEN -1e15::BIGINT AND 1e15::BIGINT"
_SANITIZED: Final = {
    TIME: "CASE WHEN {0} >= TIMESTAMPTZ '1970-01-01' AND {0} < TIMESTAMPTZ '9999-01-01'"
    " THEN timezone('UTC', {0}) END",
    REAL: "CASE WHEN abs({0}) < 1e12 THEN {0} END",  # NaN is above everything here
    INTEGER: f"CASE WHEN {{0}} {_IN_RANGE} THEN {{0}} END",
    COUNTS: f"map_from_entries(list_filter(map_entries({{0}}), lambda one: one.value {_IN_RANGE}))",
    ROOMS: "list_filter({0}, lambda one:"
    f" coalesce(one.messages {_IN_RANGE}, true) AND coalesce(one.deliveries {_IN_RANGE}, true))",
}
"""Values out of range count as absent: no sum overflows, and Python can represent each time."""

_ROOM_EXPRESSIONS: Final = {
    "messages": "list_sum(list_transform({rooms}, lambda one: one.messages))::BIGINT",
    "deliveries": "list_sum(list_transform({rooms}, lambda one: one.deliveries))::BIGINT",
    "accept_to_commit": "{rooms}[1].accept_to_commit",
    "commit_to_sent": "{rooms}[1].commit_to_sent",
    "rooms": "{rooms}",
}
"""With a filter by room, an interval's values of that room replace those of the whole server."""
_ROOM_INDEPENDENT_COLUMNS: Final = frozenset({"ts", "level", "event", "node", "interval_s", FILE_COLUMN})


def sql_literal(text: str) -> str:
    """Return `text` as a quoted SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def raw_view(sources: Sequence[InputFile], longest_line: int) -> str:
    """Return the SQL of the view `raw`: a row for each line that is not blank, log line or not."""
    types = ", ".join(
        f"'{name}': '{'TIMESTAMPTZ' if kind == TIME else kind}'" for name, kind in COLUMNS.items()
    )
    reads = []
    for compression in sorted({source.compression for source in sources}):
        paths = ", ".join(sql_literal(source.path) for source in sources if source.compression == compression)
        reads.append(
            f"SELECT * FROM read_json([{paths}], format='newline_delimited', ignore_errors=true,"
            f" compression='{compression}', maximum_object_size={longest_line}, filename='{FILE_COLUMN}',"
            f" columns={{{types}}})"
        )
    names = ", ".join(
        f"{sql_literal(source.path)}: {sql_literal(_without_surrogates(source.name))}" for source in sources
    )
    sanitized = ", ".join(
        f"{_SANITIZED[kind].format(name)} AS {name}" for name, kind in COLUMNS.items() if kind in _SANITIZED
    )
    return (
        f"SELECT * REPLACE ({sanitized}, MAP {{{names}}}[{FILE_COLUMN}] AS {FILE_COLUMN})"
        f" FROM ({' UNION ALL '.join(reads)})"
    )


def lines_view(filters: Filters, *, masked: bool) -> str:
    """Return the SQL of the view `lines`."""
    columns = {name: name for name in (*COLUMNS, FILE_COLUMN)}
    if filters.room:
        rooms = f"list_filter(rooms, lambda one: {_same_name('one.room', filters.room)})"
        for name in columns:
            of_room = _ROOM_EXPRESSIONS.get(name, "NULL").format(rooms=rooms)
            if name not in _ROOM_INDEPENDENT_COLUMNS:
                kind = COLUMNS[name]
                columns[name] = f"CASE WHEN event = 'interval' THEN ({of_room})::{kind} ELSE {name} END"
    chosen = ", ".join(f"{how} AS {name}" for name, how in columns.items())
    wanted = f"SELECT {chosen} FROM raw WHERE {' AND '.join([IS_LOG_LINE, *_conditions(filters)])}"
    if not masked:
        return wanted
    shown = ", ".join(f"{how} AS {name}" for name, how in anonymize.EXPRESSIONS.items())
    return f"SELECT * REPLACE ({shown}) FROM ({wanted})"


def _conditions(filters: Filters) -> list[str]:
    found = []
    if filters.since:
        found.append(f"ts >= TIMESTAMP '{filters.since}'")
    if filters.until:
        found.append(f"ts < TIMESTAMP '{filters.until}'")
    if filters.room:
        mentioned = (
            f"list_any_value(list_filter(rooms, lambda one: {_same_name('one.room', filters.room)}))"
            " IS NOT NULL"
        )
        found.append(f"({_same_name('room', filters.room)} OR {mentioned})")
    if filters.users:
        found.append("(" + " OR ".join(_same_name("username", user) for user in filters.users) + ")")
    if filters.nodes:
        found.append(f"node IN ({', '.join(sql_literal(node) for node in filters.nodes)})")
    return found


def _same_name(column: str, name: str) -> str:
    """Return SQL that compares names as the server does: NFC, ignoring case."""
    return f"nfc_normalize(lower({column})) = nfc_normalize(lower({sql_literal(name)}))"


def _without_surrogates(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
