import pytest

from chat_client.terminal.completion import candidates
from chat_client.terminal.input_parser import (
    COMMANDS,
    CommandInput,
    GoodbyeInput,
    InvalidInput,
    TextInput,
    count_lines,
    help_lines,
    input_problem,
    parse_input,
    recover_text,
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
    assert parse_input("/msg bob") == InvalidInput("usage: /msg NAME text", changes_view=True)
    assert parse_input("/nick") == InvalidInput("usage: /nick NAME")
    assert parse_input("/msg bob hi there") == CommandInput(COMMANDS["msg"], "bob hi there")


@pytest.mark.parametrize("before", ["\ufeff", "\u200b", "\u00a0", " \t", "\u2060 \u202e", "\u2800\u3164"])
def test_command_behind_invisible_characters_is_a_command(before: str) -> None:
    assert parse_input(f"{before}/msg bob secret") == CommandInput(COMMANDS["msg"], "bob secret")
    assert parse_input(f"{before}bye") == GoodbyeInput("bye")
    assert parse_input(before) is None


@pytest.mark.parametrize(
    ("word", "changes_view"),
    [("chta", True), ("query", True), ("jion", True), ("mgs", True), ("quti", False), ("hlep", False)],
)
def test_unknown_command_may_have_meant_to_change_the_view(word: str, changes_view: bool) -> None:
    typed = parse_input(f"/{word} pal")
    assert isinstance(typed, InvalidInput)
    assert typed.changes_view is changes_view


@pytest.mark.parametrize(
    "line", ["a\udce9", "/nick a\udce9", "/msg bob \x1b[2J", "a\x1ab", "\ud800", "/who \udce9"]
)
def test_input_that_cannot_be_sent_has_a_problem(line: str) -> None:
    typed = parse_input(line)
    assert typed is not None
    assert input_problem(typed)


def test_input_that_can_be_sent_has_no_problem() -> None:
    for line in ("hi", "é 😀\n\tx", "/msg bob ü", "/nick é", "/unknown", "bye", "word " * 4000):
        typed = parse_input(line)
        assert typed is not None
        assert input_problem(typed) is None


def test_bytes_that_the_locale_does_not_know_are_read_as_utf_8() -> None:
    assert recover_text("caf\udcc3\udca9 é") == "café é"
    assert recover_text("caf\udce9") == "caf\udce9"
    assert recover_text("\ud800") == "\ud800"


def test_line_breaks_at_the_end_are_no_lines() -> None:
    assert [count_lines(text) for text in ("", "a", "a\n", "a\nb\nc\n", "\na\n\nb\n\n")] == [1, 1, 1, 3, 3]


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
