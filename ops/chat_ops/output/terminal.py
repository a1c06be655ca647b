"""Terminal output of tables with rich: aligned, with units and sparklines, control characters escaped."""

import io
import os
from collections.abc import Sequence
from typing import Any, Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from chat_ops.output.formatting import NUMERIC_KINDS, escape_unprintable, format_value
from chat_ops.output.spark import BARS, sparkline
from chat_ops.table import ReportColumn, ReportTable

PIPE_WIDTH_COLUMNS: Final = 160
"""Width in columns if the output is not a terminal."""
SPARKLINE_COLUMNS: Final = (16, 48)
"""Minimum and maximum width of a sparkline."""
PAIR_COLUMNS: Final = 38
"""Width of a name with its value, side by side."""
_TEXT_COLUMNS: Final = 30
"""Width that a text gets; a longer one is folded."""
_UNKNOWN_WIDTH_COLUMNS: Final = 80
_WIDTHS_COLUMNS: Final = (20, 10_000)
"""Narrowest and widest table."""
_MAX_DIGITS: Final = 9
_ASCII: Final = {
    "─": "-",
    "│": "|",
    "┼": "+",
    "╶": "-",
    "╴": "-",
    "µ": "u",
    "…": "~",
    "·": ".",
    **dict(zip(BARS, "_.-:=+*#", strict=True)),
}
"""Characters that we draw with, and those of ASCII for a locale that is not UTF-8."""
_STYLES: Final = {"time": "green", "spark": "cyan"}
_CONSOLE_OPTIONS: Final[dict[str, Any]] = {"highlight": False, "emoji": False, "markup": False}
"""rich must not interpret anything in a text."""


def print_tables(tables: Sequence[ReportTable], out: TextIO) -> None:
    """Print the tables; on a terminal in its width and in colour (unless NO_COLOR or TERM=dumb)."""
    correct_size_variables()
    if out.isatty():
        _print(tables, Console(file=out, **_CONSOLE_OPTIONS))
        return
    text = io.StringIO()
    width = None if os.environ.get("COLUMNS") else PIPE_WIDTH_COLUMNS
    _print(tables, Console(file=text, width=width, **_CONSOLE_OPTIONS))
    lines = text.getvalue().translate(_ascii_for(out.encoding)).split("\n")
    out.writelines(line.rstrip() + "\n" for line in lines[:-1])  # no trailing spaces in a file


def correct_size_variables() -> None:
    """Correct COLUMNS and LINES in the environment, which rich reads, if they make no sense.

    A width of 0 or that is no number is unknown: 80. Others are kept within what a table can be drawn in.
    """
    if columns := os.environ.get("COLUMNS"):
        narrowest, widest = _WIDTHS_COLUMNS
        given = _positive_number(columns)
        os.environ["COLUMNS"] = str(
            _UNKNOWN_WIDTH_COLUMNS if given is None else min(max(given, narrowest), widest)
        )
    if _positive_number(os.environ.get("LINES", "1")) is None:
        del os.environ["LINES"]


def _positive_number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text if len(text) <= _MAX_DIGITS else "9" * _MAX_DIGITS) or None


def _ascii_for(encoding: str | None) -> dict[int, str]:
    """Return the characters of tables that an encoding lacks, with what is drawn instead."""
    return {ord(char): plain for char, plain in _ASCII.items() if not _can_encode(char, encoding or "utf-8")}


def _can_encode(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def render_table(table: ReportTable, width: int = PIPE_WIDTH_COLUMNS) -> Grid:
    """Return the table for rich, without title and notes, in the layout that fits `width`."""
    if table.vertical:
        return _vertical(table, width)
    needs = _column_widths(table)
    places = _fitting_columns(table, needs, width)
    spare = width - _total_width(needs, places)
    return _horizontal(table, places, spare) if spare >= 0 else _vertical(table, width)


def _dropped_columns_note(table: ReportTable, grid: Grid) -> str:
    """Return a note on the columns with values that `render_table` left out."""
    shown_titles = {str(column.header) for column in grid.columns}
    dropped = [
        escape_unprintable(column.title)
        for number, column in enumerate(table.columns)
        if escape_unprintable(column.title) not in shown_titles
        and any(row[number] is not None for row in table.rows)
    ]
    return f"too narrow for: {', '.join(dropped)}" if dropped and grid.show_header else ""


def _print(tables: Sequence[ReportTable], console: Console) -> None:
    for table in tables:
        if not table.rows:
            continue
        if table.title:
            console.print(Text(escape_unprintable(table.title), style="bold"))
        grid = render_table(table, console.width - 1)
        console.print(Padding(grid, (0, 0, 0, 1)))
        for note in filter(None, (*table.notes, _dropped_columns_note(table, grid))):
            console.print(Padding(Text(escape_unprintable(note), style="dim"), (0, 2)))
        console.print()


def _horizontal(table: ReportTable, places: Sequence[int], spare: int) -> Grid:
    """Return the columns in `places`; sparklines share the remaining width."""
    columns = [table.columns[place] for place in places]
    sparks = sum(column.kind == "spark" for column in columns)
    spark_width = SPARKLINE_COLUMNS[0] + spare // max(sparks, 1)
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for column in columns:
        grid.add_column(
            Text(escape_unprintable(column.title)),
            justify="right" if column.kind in NUMERIC_KINDS else "left",
            style=_STYLES.get(column.kind, ""),
            no_wrap=column.kind != "text",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*(_cell(row[place], table.columns[place], spark_width) for place in places))
    return grid


def _vertical(table: ReportTable, width: int) -> Grid:
    """Return each row as names and values, as many pairs side by side as fit."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    pairs = min(max(width // PAIR_COLUMNS, 1), 4)
    for _ in range(pairs):
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
    for number, row in enumerate(table.rows):
        if number:
            grid.add_row()
        cells: list[Text] = []
        for value, column in zip(row, table.columns, strict=True):
            if value is not None:
                cells += [Text(escape_unprintable(column.title)), _cell(value, column)]
        for start in range(0, len(cells), 2 * pairs):
            grid.add_row(*cells[start : start + 2 * pairs])
    return grid


def _fitting_columns(table: ReportTable, needs: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that fit into `width`.

    Columns without values are dropped first, then those with the highest `drop_order`, the last one first.
    """
    places = list(range(len(table.columns)))
    empty = [place for place in places if all(row[place] is None for row in table.rows)]
    droppable = [place for place in places if table.columns[place].drop_order and place not in empty]
    spare = [*sorted(droppable, key=lambda place: (table.columns[place].drop_order, place)), *empty]
    while _total_width(needs, places) > width and spare:
        places.remove(spare.pop())
    return places


def _column_widths(table: ReportTable) -> list[int]:
    """Return the width of each column, with only long texts folded."""
    needs = []
    for place, column in enumerate(table.columns):
        cells = (_cell(row[place], column).cell_len for row in table.rows)
        widest = max(len(column.title), *cells, 0)
        needs.append(min(widest, _TEXT_COLUMNS) if column.kind == "text" else widest)
    return needs


def _total_width(needs: Sequence[int], places: Sequence[int]) -> int:
    """Return the width of the columns in `places`, with their separators."""
    return sum(needs[place] + 3 for place in places) - 3


def _cell(value: object, column: ReportColumn, spark_width: int = SPARKLINE_COLUMNS[0]) -> Text:
    if column.kind == "spark":
        numbers = value if isinstance(value, list | tuple) else []
        return Text(sparkline(numbers, min(spark_width, SPARKLINE_COLUMNS[1])))
    return Text(format_value(value, column.kind))
