"""Narrowing of the terminal: most terminals then wrap the lines on the screen again, the prompt's too.

prompt_toolkit erases as many rows as it has drawn, so that copies of a wrapped prompt would stay on screen.
"""

import os
from collections.abc import Mapping

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.layout.screen import Screen


def handle_reflow(app: Application[str]) -> None:
    """Let `app` erase all rows that its drawing occupies after the terminal has been resized."""
    on_resize = app._on_resize  # noqa: SLF001  there is no public way

    def erase_wrapped() -> None:
        screen = app.renderer.last_rendered_screen
        if screen is not None and reflows(os.environ):
            cursor = app.renderer._cursor_pos  # noqa: SLF001  as above
            columns = max(1, app.output.get_size().columns)
            app.renderer._cursor_pos = reflowed(screen, cursor, columns)  # noqa: SLF001  as above
        on_resize()

    app._on_resize = erase_wrapped  # type: ignore[method-assign]  # noqa: SLF001  as above


def reflows(environ: Mapping[str, str]) -> bool:
    """Return whether the terminal wraps lines again when it is resized: all but a few older ones do."""
    if "TMUX" in environ:
        return True
    if "XTERM_VERSION" in environ or "STY" in environ:  # xterm, GNU screen
        return False
    return not environ.get("TERM", "").startswith(("linux", "rxvt", "screen"))


def reflowed(screen: Screen, cursor: Point, columns: int) -> Point:
    """Return the cursor's position, from the start of the drawing, after rows were wrapped at `columns`."""
    above = sum(-(-_width(screen, row) // columns) or 1 for row in range(cursor.y))
    return Point(x=cursor.x % columns, y=above + cursor.x // columns)


def _width(screen: Screen, row: int) -> int:
    return max(screen.data_buffer[row], default=-1) + 1
