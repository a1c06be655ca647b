"""Finds words that this project does not use, in code, comments, docs and messages (CONTRIBUTING.md).

Run by hand: `PYTHONPATH=tests python -m support.words [PATH ...]`, paths relative to the root.

Text in backticks may be a name of the wire, the log or an option. Those never change, so it is not checked.
`who` is a command of the wire: as a method (`client.who()`), as a string and in recorded frames it may stay.
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
    **dict.fromkeys(("anew",), "again, new"),
    **dict.fromkeys(("errs", "erred", "erring"), "fail, failed, internal error"),
    **dict.fromkeys(("tell", "tells", "telling", "told"), "notify, report, log, show, say"),
    **dict.fromkeys(("news",), "event, update, notice"),
    **dict.fromkeys(("moment", "moments"), "time, instant"),
    **dict.fromkeys(("who", "whoever", "whom"), "the session, the peer, the caller, the user, that"),
    **dict.fromkeys(("company",), "other programs, other load"),
    **dict.fromkeys(("seat", "seats", "seated"), "slot, place"),
    **dict.fromkeys(("stand", "stands", "standing", "stood"), "be, state, position; stop, stall, wait"),
    **dict.fromkeys(
        ("talk", "talks", "talked", "talking", "talker", "talkers", "talkative"),
        "send, chat, speak, conversation; sender",
    ),
    **dict.fromkeys(("reckon", "reckons", "reckoned", "reckoning"), "compute, merge, count"),
    **dict.fromkeys(("mood", "moods"), "severity"),
    **dict.fromkeys(("helper", "helpers"), "what it does, in a noun of its own"),
    "by rights": "normally",
    "in vain": "without effect",
}
"""The word, and what to write in its place."""

_PROSE: Final = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
_PARTS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_BACKTICKS: Final = re.compile(r"```.*?```|``[^`]+``|`[^`\n]+`", re.DOTALL)
_WIRE: Final = frozenset({"Who", "_who", ".who", "defwho"})
"""Names, two of them with the token before them, that carry the wire's command `who`."""
_VALUES: Final = re.compile(r"\bcannot tell\b|/ ?who\b|\bwho\(|\"who\"|\bswarm_erred\b")
"""What programs read: a verdict of `chat-logs audit`, the command `who`, a code of the swarm. It stays."""
_BINARY: Final = frozenset({".db", ".db-index", ".db-mark"})
_CODE: Final = frozenset({".c", ".css", ".html", ".jinja", ".js"})
"""Programs in other languages: words are looked for in their identifiers too."""
_FOREIGN: Final = frozenset({"LICENSE"})
_EXAMPLES: Final = frozenset({"tests/support/words.py", "tests/docs/test_words.py"})


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
    return [
        path
        for path in listed
        if Path(path).suffix not in _BINARY and path not in _FOREIGN and (ROOT / path).is_file()
    ]


def find(path: str) -> list[Find]:
    """Return what is found in one file."""
    if path in _EXAMPLES:
        return []
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        found = set(_python(text))
    else:
        found = set(_prose(text, 1))
        if Path(path).suffix in _CODE:
            found |= set(_names(text, 1))
    return [Find(path, line, word) for line, word in sorted(found)]


def _prose(text: str, first_line: int) -> Iterator[tuple[int, str]]:
    """Yield the words of running text, with what is in backticks left out."""
    bare = _BACKTICKS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    bare = _VALUES.sub("", bare)
    for match in _PROSE.finditer(bare):
        yield first_line + bare.count("\n", 0, match.start()), match[1].lower()


def _names(text: str, first_line: int) -> Iterator[tuple[int, str]]:
    """Yield the words of names: `TalkBot`, `talk_id`, `talk-1`."""
    for match in _PARTS.finditer(text):
        if match[0].lower() in INSTEAD:
            yield first_line + text.count("\n", 0, match.start()), match[0].lower()


def _python(text: str) -> Iterator[tuple[int, str]]:
    """Yield the words of a program: in its names, its comments and its strings."""
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from _prose(token.string, token.start[0])
        elif token.type == tokenize.NAME and not _WIRE & {token.string, before + token.string}:
            yield from _names(token.string, token.start[0])
        before = token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
            yield from _string(value, node.lineno)


def _string(value: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield the words of a string: of a sentence, or of one word, which may be the command `who`."""
    if re.search(r"\s", value):
        yield from _prose(value, line)
    else:
        yield from (found for found in _names(_VALUES.sub("", value), line) if found[1] != "who")


def main() -> int:
    """Print what is found below the paths given, or everywhere. Exit code 1 if there is anything."""
    wanted = tuple(sys.argv[1:])
    found = [one for path in files() if path.startswith(wanted or "") for one in find(path)]
    for one in found:
        print(one)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
