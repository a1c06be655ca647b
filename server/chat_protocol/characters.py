"""Characters that show nothing, turn text around, or only join others: one table for names, texts and output.

The ranges are those of Unicode's properties (UAX #44) and of RFC 5892; each says which.
"""

import functools
import re
import unicodedata
from typing import Final

REPLACEMENT: Final = "\ufffd"
"""Shown in place of what may not be shown."""

_SURROGATES = "\ud800-\udfff"
_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # bytes that are not UTF-8, in Python's `surrogateescape`

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # all but tab and line feed
# Marks, letters and signs that show nothing: Default_Ignorable_Code_Point without the joiners and selectors,
# annotation marks, and Egyptian hieroglyph controls and blanks.
_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U00013430-\U00013442\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_JOINERS = "\u200c\u200d"  # Join_Control: Persian and Indic spelling, emoji of several parts
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # Variation_Selector
_BLANK_SIGNS = "\u2800"  # a Braille cell without dots

INVISIBLE: Final = re.compile(f"[{_HIDDEN}{_JOINERS}{_SELECTORS}]")
"""A character that shows nothing, or turns the text after it around."""

BLANK: Final = re.compile(rf"[\s{_HIDDEN}{_JOINERS}{_SELECTORS}{_BLANK_SIGNS}]*")
"""A run, possibly empty, of white space and of characters that show nothing."""

# Joiners and selectors stay where they shape the letter or sign before them, which is not ASCII (or is the
# digit of a keycap): elsewhere they show nothing, and could hide a text in another.
_SHAPED = rf"[^\x00-\x9f\s{_HIDDEN}{_JOINERS}{_SELECTORS}]"
_UNSAFE: Final = re.compile(
    f"[{_CONTROL}{_SURROGATES}{_HIDDEN}]"
    f"|[{_JOINERS}](?:(?<!{_SHAPED}[{_JOINERS}])(?<!{_SHAPED}[\ufe0e\ufe0f][{_JOINERS}])|(?!{_SHAPED}))"
    f"|[{_SELECTORS}](?<!{_SHAPED}[{_SELECTORS}])(?:(?!\u20e3)|(?<![0-9#*][\ufe0e\ufe0f]))"
)
_SUSPECT: Final = re.compile(f"[{_CONTROL}{_SURROGATES}{_HIDDEN}{_JOINERS}{_SELECTORS}]")

# Joining_Type Join_Causing but the nirugu, which is no letter; a fragment of the kind; RFC 5892, 2.6,
# DISALLOWED; and lines that connect to the next one of their kind through a whole name.
_JOINING: Final = re.compile(
    "[\u0640\u07fa\u0883-\u0885\ufe73\u302e\u302f\u3031-\u3035\u303b"
    "\u02cd\u0305\u0332\u0333\u0336\u033f\ufe20-\ufe2f]"
)


def replace_unsafe(text: str) -> str:
    r"""Return `text` with U+FFFD for what acts on a terminal or is invisible; `\n` and `\t` are kept."""
    if (text.isascii() and text.isprintable()) or _SUSPECT.search(text) is None:
        return text
    return _UNSAFE.sub(REPLACEMENT, text)


@functools.lru_cache(maxsize=4096)
def only_joins(char: str) -> bool:
    """Return whether `char` is purely graphic: it stretches or joins others, as the Arabic tatweel does."""
    return _JOINING.search(unicodedata.normalize("NFKC", char)) is not None


def describe_char(char: str) -> str:
    """Return a character as a sentence can name it: by code point, and as it is if it is printable."""
    point = ord(char)
    if point in _ESCAPED_BYTES:
        return f"the byte 0x{point - 0xDC00:02X}, which is not UTF-8"
    return f"{char!r} (U+{point:04X})" if char.isprintable() else f"U+{point:04X}"
