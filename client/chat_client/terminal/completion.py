"""Tab completion of commands, names and rooms, from the text before the cursor."""

from collections.abc import Iterable

from chat_client.terminal.input_parser import COMMANDS
from chat_protocol.names import fold

_ROOM_COMMANDS = frozenset({"join", "leave", "who"})
_NAME_COMMANDS = frozenset({"chat", "close", "msg", "rtt", "ignore"})


def candidates(before: str, names: Iterable[str], rooms: Iterable[str]) -> tuple[str, list[str]]:
    """Return the word at the cursor and its completions."""
    line = before.lstrip()
    word = line.rpartition(" ")[2]
    if line.startswith("/") and not line.startswith("//"):
        if " " not in line:
            return word, [f"/{name} " for name in COMMANDS if name.startswith(word[1:].lower())]
        command, _, rest = line[1:].partition(" ")
        if " " in rest and command != "msg":
            return word, []
        if command in _ROOM_COMMANDS:
            return word, _starting_with(word, rooms)
        if command in _NAME_COMMANDS and " " not in rest:
            return word, [name + " " for name in _starting_with(word, names)]
        if command != "msg":
            return word, []
    if not word:
        return word, []
    ending = ": " if word == line else " "  # a name at the start of a line addresses that user
    return word, [name + ending for name in _starting_with(word, names)]


def _starting_with(word: str, choices: Iterable[str]) -> list[str]:
    start = fold(word)
    return sorted(choice for choice in choices if fold(choice).startswith(start))
