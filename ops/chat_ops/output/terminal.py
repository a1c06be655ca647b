"""Tables for people: aligned, with units and sparklines, and nothing in them that a terminal would obey.

Knows rich and the kinds of columns. Must not know reports.
"""

import io
import os
from collections.abc import Sequence
from typing import Any, Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from chat_ops.output.formatting import NUMERIC, visible, word
from chat_ops.output.spark import spark
from chat_ops.table import Column, Table

PIPE_WIDTH: Final = 160
"""Columns where nobody's terminal says how wide it is."""
SPARKS: Final = (16, 48)
"""Columns that a sparkline asks for, and those it takes where nothing else needs them."""
PAIR: Final = 38
"""Columns that a name and its value take side by side."""
_TEXT: Final = 30
"""Columns that a text may ask for; a longer one is folded."""
_STYLES: Final = {"time": "green", "spark": "cyan"}
_PLAIN: Final[dict[str, Any]] = {"highlight": False, "emoji": False, "markup": False}
"""Nothing in a text is taken for an instruction."""


def show(tables: Sequence[Table], out: TextIO) -> None:
    """Print the tables: in colour on a terminal that wants it (NO_COLOR, TERM=dumb), as wide as it is."""
    if out.isatty():
        _print(tables, Console(file=out, **_PLAIN))
        return
    text = io.StringIO()
    _print(tables, Console(file=text, width=None if os.environ.get("COLUMNS") else PIPE_WIDTH, **_PLAIN))
    lines = text.getvalue().splitlines()
    out.writelines(line.rstrip() + "\n" for line in lines)  # a file needs no spaces up to its edge


def render(table: Table, width: int = PIPE_WIDTH) -> Grid:
    """Return the table for rich, without its title and notes, in the way that fits `width`."""
    if table.upright:
        return _upright(table, width)
    needs = _needs(table)
    places = _fitting(table, needs, width)
    spare = width - _sum(needs, places)
    return _level(table, places, spare) if spare >= 0 else _upright(table, width)


def _left_out(table: Table, grid: Grid) -> str:
    """Say which columns a grid of `render` lacks, but for those without a value."""
    there = {str(column.header) for column in grid.columns}
    lacking = [
        visible(column.title)
        for number, column in enumerate(table.columns)
        if visible(column.title) not in there and any(row[number] is not None for row in table.rows)
    ]
    return f"too narrow for: {', '.join(lacking)}" if lacking and grid.show_header else ""


def _print(tables: Sequence[Table], console: Console) -> None:
    for table in tables:
        if not table.rows:
            continue
        if table.title:
            console.print(Text(visible(table.title), style="bold"))
        grid = render(table, console.width - 1)
        console.print(Padding(grid, (0, 0, 0, 1)))
        for note in filter(None, (*table.notes, _left_out(table, grid))):
            console.print(Padding(Text(visible(note), style="dim"), (0, 2)))
        console.print()


def _level(table: Table, places: Sequence[int], spare: int) -> Grid:
    """Return the columns in `places`; sparklines share what the others leave of the width."""
    columns = [table.columns[place] for place in places]
    sparks = sum(column.kind == "spark" for column in columns)
    spark_width = SPARKS[0] + spare // max(sparks, 1)
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for column in columns:
        grid.add_column(
            Text(visible(column.title)),
            justify="right" if column.kind in NUMERIC else "left",
            style=_STYLES.get(column.kind, ""),
            no_wrap=column.kind != "text",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*(_cell(row[place], table.columns[place], spark_width) for place in places))
    return grid


def _upright(table: Table, width: int) -> Grid:
    """Return each row as names and values, as many side by side as fit."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    pairs = min(max(width // PAIR, 1), 4)
    for _ in range(pairs):
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
    for number, row in enumerate(table.rows):
        if number:
            grid.add_row()
        cells: list[Text] = []
        for value, column in zip(row, table.columns, strict=True):
            if value is not None:
                cells += [Text(visible(column.title)), _cell(value, column)]
        for start in range(0, len(cells), 2 * pairs):
            grid.add_row(*cells[start : start + 2 * pairs])
    return grid


def _fitting(table: Table, needs: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns to show: not all, if the table is too wide.

    Those without a value go first, then those that say least; of equals, the last.
    """
    places = list(range(len(table.columns)))
    empty = [place for place in places if all(row[place] is None for row in table.rows)]
    aside = [place for place in places if table.columns[place].aside and place not in empty]
    spare = [*sorted(aside, key=lambda place: (table.columns[place].aside, place)), *empty]
    while _sum(needs, places) > width and spare:
        places.remove(spare.pop())
    return places


def _needs(table: Table) -> list[int]:
    """Return how wide each column must be if no text but a long one is folded."""
    needs = []
    for place, column in enumerate(table.columns):
        cells = (_cell(row[place], column).cell_len for row in table.rows)
        widest = max(len(column.title), *cells, 0)
        needs.append(min(widest, _TEXT) if column.kind == "text" else widest)
    return needs


def _sum(needs: Sequence[int], places: Sequence[int]) -> int:
    """Return the width of the columns in `places`, and of what is between them."""
    return sum(needs[place] + 3 for place in places) - 3


def _cell(value: object, column: Column, spark_width: int = SPARKS[0]) -> Text:
    if column.kind == "spark":
        numbers = value if isinstance(value, list | tuple) else []
        return Text(spark(numbers, min(spark_width, SPARKS[1])))
    return Text(word(value, column.kind))
