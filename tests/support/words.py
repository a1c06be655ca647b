"""Finds words that this project does not use, in code, comments, docs and messages (CONTRIBUTING.md).

Run by hand: `PYTHONPATH=tests python -m support.words [PATH ...]`, paths relative to the root.

Text in backticks, and a string that is one word without blanks, may be a name of the wire, the log or an
option. Those never change, so they are not checked.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]

INSTEAD: Final = {
    "anew": "again, new",
    "erred": "failed, internal error",
    "tell": "notify, report, log, show, say",
    "told": "notified, reported, logged",
    "tells": "reports, shows, says",
    "telling": "reporting",
    "news": "event, update, notice",
    "moment": "time, instant",
    "moments": "times",
    "who": "the session, the peer, the caller, the user, that",
    "whoever": "the session, the peer, the caller, anyone that",
    "whom": "which, the peer",
    "company": "other programs, other load",
    "seat": "slot, place",
    "seats": "slots, places",
    "stand": "be, state, position",
    "stands": "is",
    "standing": "state",
    "talk": "send, chat, speak, conversation",
    "talks": "sends, conversations",
    "talking": "sending",
    "reckon": "compute, merge, count",
    "reckoning": "merge, result",
    "mood": "severity",
    "by rights": "normally",
    "in vain": "without effect",
}
"""The word, and what to write in its place."""

_PROSE: Final = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
_PARTS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_BACKTICKS: Final = re.compile(r"```.*?```|``[^`]+``|`[^`\n]+`", re.DOTALL)
_WIRE: Final = frozenset({"who", "Who", "_who"})
"""Identifiers that carry the wire's own command `who`."""
_VALUES: Final = re.compile(r"\bcannot tell\b")
"""The verdict of `chat-logs audit` that programs read in its JSON: it stays."""
_SUFFIXES: Final = frozenset({".py", ".md", ".toml", ".js", ".css", ".html", ".jinja", ".yml"})
_HERE: Final = "tests/support/words.py"


class Find(NamedTuple):
    """A word that is not used here, and where it is."""

    path: str
    line: int
    word: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}; write {INSTEAD[self.word]}"


def files() -> list[str]:
    """Return the paths of all text files that git tracks or would, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return [path for path in listed if Path(path).suffix in _SUFFIXES and (ROOT / path).is_file()]


def find(path: str) -> list[Find]:
    """Return what stands in one file."""
    if path == _HERE:
        return []
    text = (ROOT / path).read_text(encoding="utf-8")
    found = _python(text) if path.endswith(".py") else _prose(text, 1)
    return [Find(path, line, word) for line, word in sorted(set(found))]


def _prose(text: str, first_line: int) -> Iterator[tuple[int, str]]:
    """Yield the words of running text, with what is in backticks left out."""
    bare = _BACKTICKS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    bare = _VALUES.sub("", re.sub(r"(?<![\w`])/who\b|\{who\}", "", bare))
    for match in _PROSE.finditer(bare):
        yield first_line + bare.count("\n", 0, match.start()), match[1].lower()


def _python(text: str) -> Iterator[tuple[int, str]]:
    """Yield the words of a program: in its names, its comments and its strings."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from _prose(token.string, token.start[0])
        elif token.type == tokenize.NAME and token.string not in _WIRE:
            for part in _PARTS.findall(token.string):
                if part.lower() in INSTEAD:
                    yield token.start[0], part.lower()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value):
            yield from _prose(node.value, node.lineno)


def main() -> int:
    """Print what is found below the paths given, or everywhere. Exit code 1 if there is anything."""
    wanted = tuple(sys.argv[1:])
    found = [one for path in files() if path.startswith(wanted or "") for one in find(path)]
    for one in found:
        print(one)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
