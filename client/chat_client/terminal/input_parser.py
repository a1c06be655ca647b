"""What a typed line means: something to say, a command, a good-bye, or a command that does not exist.

Knows the commands and their help. Must not carry them out.
"""

import difflib
from typing import Final

from msgspec import Struct


class SlashCommand(Struct, frozen=True):
    """A command: `usage` behind its name, what it does; `needs` is how many words it cannot do without.

    `single` says what its argument is, where it is one word at most.
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
        SlashCommand("join", "ROOM", "enter a room, or go back to one", 1, "room name"),
        SlashCommand("leave", "[ROOM]", "leave a room", single_word="room name"),
        SlashCommand("chat", "NAME", "talk with one person only", 1, "name"),
        SlashCommand("close", "[NAME]", "close a conversation (so does bye)"),
        SlashCommand("msg", "NAME text", "say one thing to one person", 2),
        SlashCommand("rooms", "", "which rooms there are"),
        SlashCommand("who", "[ROOM]", "who is here"),
        SlashCommand("servers", "", "which servers there are"),
        SlashCommand("history", "[N]", "the last N messages of this room"),
        SlashCommand("rtt", "[NAME]", "round-trip times"),
        SlashCommand("nick", "NAME", "take another name", 1, "name"),
        SlashCommand("ignore", "[NAME]", "hide what NAME says, or show it again"),
        SlashCommand("quit", "", "leave (so do bye, quit and Ctrl-D)"),
    )
}


_MIN_SIMILARITY = (
    0.6  # likeness (difflib's ratio) from which on a command is suggested: quti is 0.75 quit, foo 0.5 rooms
)


class TextInput(Struct, frozen=True):
    """Something to say."""

    text: str


class CommandInput(Struct, frozen=True):
    """A command to carry out."""

    command: SlashCommand
    argument: str


class InvalidInput(Struct, frozen=True):
    """Nothing to send; the sentence says why."""

    sentence: str


class GoodbyeInput(Struct, frozen=True):
    """`bye` or `quit`: in a conversation the first closes it."""

    word: str


UserInput = TextInput | CommandInput | InvalidInput | GoodbyeInput


def parse_input(line: str) -> UserInput | None:
    """Return what `line` means, None for an empty one."""
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
        return InvalidInput(f"it goes like this: /{command.name} {command.usage}")
    if command.single_word and len(argument.split(maxsplit=1)) > 1:
        return InvalidInput(
            f"a {command.single_word} holds no spaces; it goes like this: /{command.name} {command.usage}"
        )
    return CommandInput(command, argument)


def help_lines() -> list[str]:
    """Return the help, a line for each command."""
    width = max(len(f"{command.name} {command.usage}") for command in COMMANDS.values())
    lines = [
        f"/{f'{command.name} {command.usage}':<{width}}  {command.help}" for command in COMMANDS.values()
    ]
    return [
        *lines,
        f"{'//text':<{width + 1}}  say a line that begins with /",
        "Tab completes commands, names and rooms; the arrows bring back earlier lines.",
    ]


def _unknown_command(word: str) -> str:
    shown = word if len(word) <= 32 else word[:32] + "…"
    nearest = difflib.get_close_matches(word.lower(), COMMANDS, 1, _MIN_SIMILARITY)
    hint = f"did you mean /{nearest[0]}?" if nearest else "/help lists the commands"
    return f"there is no /{shown}, so nothing was sent; {hint} (//{shown} says it)"
