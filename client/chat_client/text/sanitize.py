"""Text from others, made harmless for a terminal.

Knows Unicode. Must not know who wrote the text. What a terminal would obey or a reader could not see is shown
as what it is, `<U+202E>`; nothing is dropped in silence. The server refuses most of this already; the client
does not rely on that.
"""

import re
import unicodedata
from typing import Final

MAX_COMBINING_MARKS: Final = 6
"""Combining marks kept on a character: enough for every script in use, too few to paint over other lines."""

_TAB: Final = "    "  # a real tab stops at columns that the terminal chooses
_JOINERS: Final = "\u200c\u200d"  # needed by Persian and Indic scripts and by emoji; they move nothing
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NOT_PLAIN_ASCII = re.compile(r"[^\n\x20-\x7e]")


def sanitize(text: str) -> str:
    r"""Return `text` with line breaks (`\n`) only, and nothing that a terminal would act upon."""
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for char in text:
        if not _NOT_PLAIN_ASCII.match(char):
            shown.append(char)
            marks = 0
            continue
        if char == "\t":
            shown.append(_TAB)
            continue
        category = unicodedata.category(char)
        if category in {"Mn", "Me"}:
            marks += 1
            if marks > MAX_COMBINING_MARKS:
                continue  # the only thing left out: the marks before it tell that it is meant to disturb
        elif char not in _JOINERS:
            marks = 0
            if category in _HIDDEN_CATEGORIES:
                char = f"<U+{ord(char):04X}>"  # noqa: PLW2901  shown instead
        shown.append(char)
    return "".join(shown)


def one_line(text: str) -> str:
    """Return `text` harmless and on one line, as a name or a sentence has to be."""
    return sanitize(text).replace("\n", " ")


def escape_json_controls(json_text: str) -> str:
    r"""Return JSON with what `harmless` would show as `\u` escapes: the same value, safe to look at."""
    if json_text.isascii() and json_text.isprintable():
        return json_text
    return "".join(
        _json_escape(char) if unicodedata.category(char) in _HIDDEN_CATEGORIES else char for char in json_text
    )


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
