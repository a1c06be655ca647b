"""Sanitizing of untrusted text for terminals.

Control and invisible characters are shown by code point, as `<U+202E>`, and not dropped. The server rejects
most of them already; the client does not rely on that.
"""

import re
import unicodedata
from typing import Final

MAX_COMBINING_MARKS: Final = 6
"""Combining marks kept per character: enough for all scripts in use, too few to cover other lines."""

_TAB: Final = "    "  # the width of a real tab depends on the terminal
_JOINERS: Final = "\u200c\u200d"  # used by Persian, Indic scripts and emoji; without effect on the cursor
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NOT_PLAIN_ASCII = re.compile(r"[^\n\x20-\x7e]")


def sanitize(text: str) -> str:
    r"""Return `text` without control or invisible characters but `\n`."""
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
                continue  # the only characters dropped
        elif char not in _JOINERS:
            marks = 0
            if category in _HIDDEN_CATEGORIES:
                char = f"<U+{ord(char):04X}>"  # noqa: PLW2901  shown instead
        shown.append(char)
    return "".join(shown)


def one_line(text: str) -> str:
    """Return `text` sanitized and on one line, for names and sentences."""
    return sanitize(text).replace("\n", " ")


def escape_json_controls(json_text: str, *, ascii_only: bool = False) -> str:
    r"""Return JSON of the same value, with control and invisible characters as `\u` escapes.

    `ascii_only`: all characters but those of ASCII are escaped.
    """
    if json_text.isascii() and json_text.isprintable():
        return json_text
    return "".join(
        _json_escape(char)
        if unicodedata.category(char) in _HIDDEN_CATEGORIES or (ascii_only and not char.isascii())
        else char
        for char in json_text
    )


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
