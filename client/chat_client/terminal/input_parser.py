"""Parses typed lines into text, a command, a goodbye, or invalid input; the commands and their help."""

import difflib
from typing import Final

from msgspec import Struct


class SlashCommand(Struct, frozen=True):
    """A command: its arguments (`usage`), help, and number of required words.

    `single_word` names the argument of a command that accepts one word only.
    """

    name: str
    usage: str
    help: str
    required_words: int = 0
    single_word: str = ""


COMMANDS: Final = {
    command.name: command
    for command in (
        SlashCommand("help", "", "this list"),
        SlashCommand("join", "ROOM", "join a room, or return to it", 1, "room name"),
        SlashCommand("leave", "[ROOM]", "leave a room", single_word="room name"),
        SlashCommand("chat", "NAME", "open a conversation with one user", 1, "name"),
        SlashCommand("close", "[NAME]", "close a conversation (so does bye)"),
        SlashCommand("msg", "NAME text", "send one message to one user", 2),
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
    """Invalid input; the sentence says why."""

    sentence: str


class GoodbyeInput(Struct, frozen=True):
    """`bye` or `quit`: leave; in a conversation, `bye` closes it instead."""

    word: str


UserInput = TextInput | CommandInput | InvalidInput | GoodbyeInput


def parse_input(line: str) -> UserInput | None:
    """Parse a line; None for a blank one."""
    stripped = line.strip()
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
        return InvalidInput(_unknown_command(word))
    if len(argument.split(maxsplit=1)) < command.required_words:
        return InvalidInput(f"usage: /{command.name} {command.usage}")
    if command.single_word and len(argument.split(maxsplit=1)) > 1:
        return InvalidInput(
            f"a {command.single_word} contains no spaces; usage: /{command.name} {command.usage}"
        )
    return CommandInput(command, argument)


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


def _unknown_command(word: str) -> str:
    shown = word if len(word) <= 32 else word[:32] + "…"
    nearest = difflib.get_close_matches(word.lower(), COMMANDS, 1, _MIN_SIMILARITY)
    hint = f"did you mean /{nearest[0]}?" if nearest else "/help lists the commands"
    return f"there is no /{shown}, so nothing was sent; {hint} (//{shown} sends it as text)"
