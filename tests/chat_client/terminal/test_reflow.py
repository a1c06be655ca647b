"""Narrowing the terminal leaves no copies of the prompt, and takes no line of the chat away."""

from io import StringIO
from typing import Any

import pytest
from prompt_toolkit.application import Application
from prompt_toolkit.application.current import set_app
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.input import DummyInput
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.layout.screen import Char, Screen
from prompt_toolkit.output.vt100 import Vt100_Output

from chat_client.terminal.reflow import handle_reflow, reflowed, reflows

ASKS_FOR_CURSOR = "\x1b[6n"
DRAFT = "a line that is longer than the terminal is going to be, and then some more of it"


@pytest.mark.parametrize("columns", [90, 60, 40])
def test_narrowing_leaves_one_prompt_and_all_lines(server: Any, terminal: Any, columns: int) -> None:
    name = f"flow-{columns}"
    ann = terminal("--server", server.address, "--username", name, "--room", name, columns=120)
    ann.see(f"{name}> ", "RTT ")
    ann.type("said before\r")
    ann.see_line(rf"\d\d:\d\d {name}: said before")
    ann.type(DRAFT)
    ann.see(DRAFT)
    ann.settle()
    before = len(ann.raw)
    ann.resize(columns)
    ann.until(lambda: ASKS_FOR_CURSOR in ann.raw[before:])  # it has noticed

    def is_drawn_once() -> bool:
        text = joined(ann.lines, columns)
        return text.count(f"{name}> ") == text.count("a line that is") == text.count(DRAFT) == 1

    ann.until(is_drawn_once, "one prompt with the whole line")
    assert any("said before" in line for line in [*ann.scrolled, *ann.lines])


def joined(lines: list[str], columns: int) -> str:
    return "".join(line.ljust(columns) if len(line) >= columns - 1 else f"{line}\n" for line in lines)


@pytest.mark.parametrize("erases", [False, True])
def test_drawing_that_comes_before_the_signal_of_the_resize_covers_wrapped_rows(
    monkeypatch: pytest.MonkeyPatch, erases: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    written, size = StringIO(), [Size(rows=24, columns=120)]
    output = Vt100_Output(written, lambda: size[0], term="xterm-256color")
    drawing = Window(FormattedTextControl([("", DRAFT), ("[SetCursorPosition]", " ")]), wrap_lines=True)
    app: Application[str] = Application(Layout(drawing), input=DummyInput(), output=output)
    handle_reflow(app)
    with set_app(app):
        app.renderer.render(app, app.layout)
        size[0] = Size(rows=24, columns=40)
        written.truncate(0)
        if erases:
            app.renderer.erase()
        else:
            app.renderer.render(app, app.layout)
    # Then all is erased from the first of the three rows that the terminal has made of the one
    assert "\x1b[2A" in written.getvalue().split("\x1b[J")[0]


def test_rows_above_the_cursor_are_counted_as_wrapped() -> None:
    screen = Screen()
    for row, width in enumerate((100, 0, 30, 75)):
        for column in range(width):
            screen.data_buffer[row][column] = Char("x")
    assert reflowed(screen, Point(x=75, y=3), 100) == Point(x=75, y=3)
    assert reflowed(screen, Point(x=75, y=3), 40) == Point(x=35, y=3 + 1 + 1 + 1)
    assert reflowed(screen, Point(x=5, y=0), 40) == Point(x=5, y=0)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "XTERM_VERSION": "XTerm(379)"}, False),
        ({"TERM": "screen", "TMUX": "/tmp/x", "XTERM_VERSION": "XTerm(379)"}, True),
        ({"TERM": "screen", "STY": "1.x"}, False),
        ({"TERM": "linux"}, False),
    ],
)
def test_terminals_that_cut_lines_are_known(environ: dict[str, str], expected: bool) -> None:
    assert reflows(environ) is expected
