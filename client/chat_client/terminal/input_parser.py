"""Parses typed lines into text, a command, a goodbye, or invalid input; the commands and their help."""

import difflib
from typing import Final

from msgspec import Struct

from chat_client.text.split_text import split_text
from chat_protocol.characters import BLANK
from chat_protocol.message_text import encoding_problem, text_problem


class SlashCommand(Struct, frozen=True):
    """A command: its arguments (`usage`), help, and number of required words.

    `single_word` names the argument of a command that accepts one word only. `changes_view`: if it fails, the
    next line may be meant for another room or conversation than the current one.
    """

    name: str
    usage: str
    help: str
    required_words: int = 0
    single_word: str = ""
    changes_view: bool = False


COMMANDS: Final = {
    command.name: command
    for command in (
        SlashCommand("help", "", "this list"),
        SlashCommand("join", "ROOM", "join a room, or return to it", 1, "room name", changes_view=True),
        SlashCommand("leave", "[ROOM]", "leave a room", single_word="room name", changes_view=True),
        SlashCommand("chat", "NAME", "open a conversation with one user", 1, "name", changes_view=True),
        SlashCommand("close", "[NAME]", "close a conversation (so does bye)", changes_view=True),
        SlashCommand("msg", "NAME text", "send one message to one user", 2, changes_view=True),
        SlashCommand("rooms", "", "list the rooms"),
        SlashCommand("who", "[ROOM]", "list the users here"),
        SlashCommand("servers", "", "list the servers"),
        SlashCommand("history", "[N]", "the last N messages of this room"),
        SlashCommand("rtt", "[NAME]", "round-trip times"),
        SlashCommand("nick", "NAME", "change your name", 1, "name"),
        SlashCommand("ignore", "[NAME]", "hide messages of NAME, or show them again"),
        SlashCommand("quit", "", "leave (so do bye, quit and Ctrl-D)"),
    )
}

# difflib ratio from which a command is suggested: quti/quit is 0.75, foo/rooms 0.5.
_MIN_SIMILARITY = 0.6


class TextInput(Struct, frozen=True):
    """Text to send."""

    text: str


class CommandInput(Struct, frozen=True):
    """A command to execute."""

    command: SlashCommand
    argument: str


class InvalidInput(Struct, frozen=True):
    """Invalid input; the sentence says why. `changes_view`: as in `SlashCommand`."""

    sentence: str
    changes_view: bool = False


class GoodbyeInput(Struct, frozen=True):
    """`bye` or `quit`: leave; in a conversation, `bye` closes it instead."""

    word: str


UserInput = TextInput | CommandInput | InvalidInput | GoodbyeInput


def parse_input(line: str) -> UserInput | None:
    """Parse a line; None for a blank one."""
    stripped = _strip_invisible(line)
    if not stripped:
        return None
    if stripped in {"bye", "quit"}:
        return GoodbyeInput(stripped)
    if not stripped.startswith("/"):
        return TextInput(line)
    if stripped.startswith("//"):
        return TextInput(stripped[1:])
    word, _, argument = stripped[1:].partition(" ")
    argument = argument.strip()
    command = COMMANDS.get(word.lower())
    if command is None:
        return _unknown_command(word)
    usage = f"usage: /{command.name} {command.usage}"
    if len(argument.split(maxsplit=1)) < command.required_words:
        return InvalidInput(usage, command.changes_view)
    if command.single_word and len(argument.split(maxsplit=1)) > 1:
        return InvalidInput(f"a {command.single_word} contains no spaces; {usage}", command.changes_view)
    return CommandInput(command, argument)


def input_problem(typed: UserInput) -> str | None:
    """Return why an input can neither be sent nor executed, as a sentence; None if it can be tried."""
    match typed:
        case TextInput():
            text = typed.text
        case CommandInput():
            text = typed.argument
        case _:
            return None
    if (problem := encoding_problem(text)) is not None:
        return f"the line contains {problem}"
    sent = isinstance(typed, TextInput) or typed.command.name == "msg"
    problems = map(text_problem, split_text(text)) if sent else ()
    return next((problem for problem in problems if problem is not None), None)


def recover_text(line: str) -> str:
    """Return a typed line with bytes that the locale does not know read as UTF-8, as far as they are."""
    try:
        return line.encode(errors="surrogateescape").decode(errors="surrogateescape")
    except UnicodeEncodeError:
        return line  # other surrogates than those of bytes


def count_lines(text: str) -> int:
    """Return the number of lines, without line breaks at the end."""
    return len(text.strip("\n").split("\n"))


def help_lines() -> list[str]:
    """Return the help text, a line for each command."""
    width = max(len(f"{command.name} {command.usage}") for command in COMMANDS.values())
    lines = [
        f"/{f'{command.name} {command.usage}':<{width}}  {command.help}" for command in COMMANDS.values()
    ]
    return [
        *lines,
        f"{'//text':<{width + 1}}  send a line that begins with /",
        "Tab completes commands, names and rooms; the arrow keys recall earlier lines.",
    ]


def _strip_invisible(line: str) -> str:
    """Return `line` without blank and invisible characters around it: none can hide a command's slash."""
    for _ in range(2):
        blank = BLANK.match(line)
        line = line[blank.end() if blank else 0 :][::-1]
    return line


def _unknown_command(word: str) -> InvalidInput:
    shown = word if len(word) <= 32 else word[:32] + "…"
    nearest = difflib.get_close_matches(word.lower(), COMMANDS, 1, _MIN_SIMILARITY)
    hint = f"did you mean /{nearest[0]}?" if nearest else "/help lists the commands"
    sentence = f"there is no /{shown}, so nothing was sent; {hint} (//{shown} sends it as text)"
    return InvalidInput(sentence, not nearest or COMMANDS[nearest[0]].changes_view)
