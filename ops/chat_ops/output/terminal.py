"""Tables for people: aligned, with units and sparklines, and nothing in them that a terminal would obey.

Knows rich and the kinds of columns. Must not know reports.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from chat_ops.output.words import NUMERIC, visible, word
from chat_ops.spark import spark
from chat_ops.table import Column, Table

PIPE_WIDTH: Final = 160
"""Columns where nobody's terminal says how wide it is."""
SPARK_WIDTH: Final = 40
_STYLES: Final = {"text": "", "time": "green", "spark": "cyan"}


def console() -> Console:
    """Return what prints: in colour on a terminal that wants it (NO_COLOR, TERM=dumb), as wide as it is."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False)


def show(tables: Sequence[Table], console: Console) -> None:
    """Print the tables."""
    for table in tables:
        console.print(render(table, narrow=console.width < 100))
        for note in table.notes:
            console.print(Padding(Text(visible(note), style="dim"), (0, 2)))
        if table.notes:
            console.print()


def render(table: Table, *, narrow: bool = False) -> Grid:
    """Return the table for rich."""
    # Trailing spaces would follow every line into a file.
    grid = Grid(
        title=Text(visible(table.title), style="bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
        show_edge=False,
    )
    for column in table.columns:
        grid.add_column(
            Text(visible(column.title)),
            justify="right" if column.kind in NUMERIC else "left",
            style=_STYLES.get(column.kind, ""),
            no_wrap=column.kind != "text",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(
            *(_cell(value, column, narrow) for value, column in zip(row, table.columns, strict=True))
        )
    return grid


def _cell(value: object, column: Column, narrow: bool) -> Text:
    if column.kind == "spark":
        numbers = value if isinstance(value, list | tuple) else []
        return Text(spark(numbers, SPARK_WIDTH // 2 if narrow else SPARK_WIDTH))
    return Text(word(value, column.kind))
