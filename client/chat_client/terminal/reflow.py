"""Narrowing of the terminal: most terminals then wrap the lines on the screen again, the prompt's too.

prompt_toolkit erases as many rows as it has drawn, so that copies of a wrapped prompt would stay on screen.
"""

import os
from collections.abc import Mapping
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.layout import Layout
from prompt_toolkit.layout.screen import Screen


def handle_reflow(app: Application[str]) -> None:
    """Let `app` erase all rows that its drawing occupies after the terminal has been resized.

    Also where it draws or erases for another reason before it has heard of the new size.
    """
    if not reflows(os.environ):
        return
    renderer = app.renderer
    render, erase = renderer.render, renderer.erase

    def find_cursor() -> None:
        screen, size = renderer.last_rendered_screen, renderer._last_size  # noqa: SLF001  no public way
        columns = max(1, app.output.get_size().columns)
        if screen is not None and size is not None and size.columns != columns:
            renderer._cursor_pos = reflowed(screen, renderer._cursor_pos, columns)  # noqa: SLF001  as above

    def render_over_wrapped(app: Application[Any], layout: Layout, is_done: bool = False) -> None:
        find_cursor()
        render(app, layout, is_done)

    def erase_wrapped(leave_alternate_screen: bool = True) -> None:
        find_cursor()
        erase(leave_alternate_screen)

    renderer.render = render_over_wrapped  # type: ignore[method-assign]
    renderer.erase = erase_wrapped  # type: ignore[method-assign]


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
