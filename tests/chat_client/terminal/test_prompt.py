"""The prompt: interrupts, its end, lines that are put back, pastes that never end."""

import os
import pty
import termios
from collections.abc import Iterator

import pytest
from prompt_toolkit.application import create_app_session, run_in_terminal
from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.output import DummyOutput

from chat_client.terminal.prompt import LinePrompt, PasteParser


class Keyboard:
    """What is typed at a prompt."""

    def __init__(self, pipe: PipeInput) -> None:
        self.type = pipe.send_text
        self.errors: list[BaseException] = []
        self.prompt = LinePrompt(
            lambda: "> ", lambda: "", DummyCompleter(), InMemoryHistory(), self.errors.append
        )


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield Keyboard(pipe)


def test_interrupt_before_the_prompt_opens_takes_effect_once(keyboard: Keyboard) -> None:
    keyboard.prompt.interrupt()
    with pytest.raises(KeyboardInterrupt):
        keyboard.prompt.read()
    keyboard.type("hello\r")
    assert keyboard.prompt.read() == "hello"
    assert not keyboard.errors


def test_closed_prompt_returns_at_once_and_for_good(keyboard: Keyboard) -> None:
    keyboard.prompt.close()
    for _ in range(2):
        with pytest.raises(EOFError):
            keyboard.prompt.read("a draft")
    with pytest.raises(EOFError):
        keyboard.prompt.ask("sure? ")


def test_line_that_is_put_back_appears_in_the_next_prompt(keyboard: Keyboard) -> None:
    keyboard.prompt.put_back("one")
    keyboard.prompt.put_back("two")
    texts: list[str] = []

    def enter_when_filled() -> None:
        texts.append(keyboard.prompt.text)
        if texts[-1]:
            keyboard.type("\r")

    keyboard.prompt._prompt.app.before_render += lambda _: enter_when_filled()
    assert keyboard.prompt.read() == "one\ntwo"


def test_line_that_is_put_back_is_forgotten_after_ctrl_c(keyboard: Keyboard) -> None:
    keyboard.prompt.put_back("one")
    keyboard.type("\x03")
    with pytest.raises(KeyboardInterrupt):
        keyboard.prompt.read()
    keyboard.prompt.interrupt()
    with pytest.raises(KeyboardInterrupt):
        keyboard.prompt.read()
    assert not keyboard.prompt._returned


def test_line_is_typed_ahead_if_keys_were_waiting_when_the_one_before_was_entered(
    keyboard: Keyboard,
) -> None:
    keyboard.type("one\rtwo\r")
    assert [(keyboard.prompt.read(), keyboard.prompt.typed_ahead) for _ in range(2)] == [
        ("one", False),
        ("two", True),
    ]
    keyboard.type("three\r")  # before the prompt opens, and after the answer to the line before
    assert (keyboard.prompt.read(), keyboard.prompt.typed_ahead) == ("three", False)
    keyboard.type("\x03four\r")
    with pytest.raises(KeyboardInterrupt):
        keyboard.prompt.read()
    assert (keyboard.prompt.read(), keyboard.prompt.typed_ahead) == ("four", False)


def test_terminal_stays_raw_while_something_is_printed_above_the_prompt() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin, create_app_session(input=Vt100Input(stdin), output=DummyOutput()):
        prompt = LinePrompt(lambda: "> ", lambda: "", DummyCompleter(), InMemoryHistory(), lambda _: None)
        modes: list[int] = []

        def print_something() -> None:
            modes.append(termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO))
            os.write(ours, b"line\r")

        def start(_: object) -> None:
            prompt._prompt.app.before_render -= start
            run_in_terminal(print_something)

        prompt._prompt.app.before_render += start
        assert prompt.read() == "line"
        assert modes == [0]
    os.close(ours)


def parse(*reads: str) -> list[tuple[str, str]]:
    keys: list[KeyPress] = []
    parser = PasteParser(keys.append)
    for data in reads:
        parser.feed(data)
    return [(str(press.key), press.data) for press in keys]


def test_ctrl_c_ends_a_paste_without_an_end() -> None:
    parser = PasteParser(lambda _: None)
    parser.feed("\x1b[200~hi")
    states = [parser.in_paste]
    parser.feed("\x03")
    assert [*states, parser.in_paste] == [True, False]
    assert parse("\x1b[200~hi", "more\r", "\x03", "a") == [("Keys.ControlC", "\x03"), ("a", "a")]


@pytest.mark.parametrize("cut", range(7))
def test_answer_about_the_cursor_is_no_part_of_a_paste(cut: int) -> None:
    answer = "\x1b[17;1R"
    assert parse("\x1b[200~a", f"b{answer[:cut]}", f"{answer[cut:]}c\x1b[201~") == [
        ("Keys.CPRResponse", answer),
        ("Keys.BracketedPaste", "abc"),
    ]
    end = "\x1b[201~"
    assert parse("\x1b[200~a", end[:cut], f"{end[cut:]}x") == [("Keys.BracketedPaste", "a"), ("x", "x")]


def test_ctrl_c_inside_pasted_text_is_text() -> None:
    assert parse("\x1b[200~a\x03b", "c\x03\x1b[201~") == [("Keys.BracketedPaste", "a\x03bc\x03")]
