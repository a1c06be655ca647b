import pytest

from chat_client.terminal.completion import candidates
from chat_client.terminal.input_parser import (
    COMMANDS,
    CommandInput,
    GoodbyeInput,
    InvalidInput,
    TextInput,
    help_lines,
    parse_input,
)


@pytest.mark.parametrize("line", ["/quti", " /quti", "\t/quti now", "/QUTI", "/etc/passwd", "/", "/ quit"])
def test_unknown_command_is_not_sent(line: str) -> None:
    assert isinstance(parse_input(line), InvalidInput)


def test_mistyped_command_gets_a_suggestion() -> None:
    wrong = parse_input("/hsitory 5")
    assert isinstance(wrong, InvalidInput)
    assert "did you mean /history?" in wrong.sentence


def test_unknown_command_without_similar_one_gets_no_suggestion() -> None:
    wrong = parse_input("/foo")
    assert isinstance(wrong, InvalidInput)
    assert "did you mean" not in wrong.sentence


@pytest.mark.parametrize("line", ["/join bad room", "/leave bad room", "/chat ann lee", "/nick ann lee"])
def test_command_with_too_many_words_is_rejected(line: str) -> None:
    wrong = parse_input(line)
    assert isinstance(wrong, InvalidInput)
    assert "name contains no spaces" in wrong.sentence


@pytest.mark.parametrize("line", [" /quit", "/QUIT", "/quit  "])
def test_command_case_and_spaces_do_not_matter(line: str) -> None:
    assert parse_input(line) == CommandInput(COMMANDS["quit"], "")


def test_double_slash_sends_text_with_one() -> None:
    assert parse_input("//quit") == TextInput("/quit")
    assert parse_input("  //etc/passwd is a file") == TextInput("/etc/passwd is a file")


def test_command_without_its_argument_shows_its_usage() -> None:
    assert parse_input("/msg bob") == InvalidInput("usage: /msg NAME text")
    assert parse_input("/msg bob hi there") == CommandInput(COMMANDS["msg"], "bob hi there")


def test_bye_and_quit_are_goodbyes_as_whole_lines_only() -> None:
    assert parse_input(" bye ") == GoodbyeInput("bye")
    assert parse_input("quit") == GoodbyeInput("quit")
    assert parse_input("bye all") == TextInput("bye all")
    assert parse_input("  ") is None


def test_help_lists_every_command() -> None:
    text = "\n".join(help_lines())
    assert all(f"/{name} " in text for name in COMMANDS)


def test_completion_of_commands_names_and_rooms() -> None:
    names, rooms = ["Bob", "bea", "carl"], ["dev", "Design"]
    assert candidates("/hi", names, rooms) == ("/hi", ["/history "])
    assert candidates("/join d", names, rooms) == ("d", ["Design", "dev"])
    assert candidates("/msg b", names, rooms) == ("b", ["Bob ", "bea "])
    assert candidates("/nick b", names, rooms) == ("b", [])
    assert candidates("be", names, rooms) == ("be", ["bea: "])
    assert candidates("hi be", names, rooms) == ("be", ["bea "])
    assert candidates("hi ", names, rooms) == ("", [])
