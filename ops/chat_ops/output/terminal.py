"""Tables for people: aligned, with units and sparklines, and nothing in them that a terminal would obey.

Knows rich and the kinds of columns. Must not know reports.
"""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from chat_ops.table import Table


def show(tables: Iterable[Table], console: Console) -> None:
    """Print the tables."""
    for table in tables:
        grid = Grid(title=table.title)
        for column in table.columns:
            grid.add_column(column.title, justify="left" if column.kind == "text" else "right")
        for row in table.rows:
            grid.add_row(*(Text("" if value is None else ascii(value)) for value in row))
        console.print(grid)
        for note in table.notes:
            console.print(Text(note))
