"""Names of users and rooms: validation, and comparison without regard to case.

A name has 1 to 32 code points after NFC, begins with a letter or digit, and continues with letters, digits,
marks, `.`, `_` and `-`. Names are compared by NFC and casefold, and shown as first written. Invisible code
points are rejected, though Unicode classes some as letters or marks (Default_Ignorable_Code_Point, UAX #44).
"""

import unicodedata
from typing import Final

MAX_NAME_CHARS: Final = 32
"""Code points in a name, after NFC."""

SERVER_NAME: Final = "server"
GUEST_PREFIX: Final = "guest-"

_MAX_UNCOMPOSED_CHARS: Final = 4 * MAX_NAME_CHARS
"""Length before NFC beyond which the result cannot fit: NFC composes at most four code points into one
(UAX #15, expansion factors)."""
_MAX_FOLDED_CHARS: Final = 1024
"""Length of the longest text that is folded, far more than the name of a conversation has. Normalizing sorts
marks in quadratic time: 32,000 of them took a second."""
_PUNCTUATION: Final = frozenset("._-")
_LETTER_DIGIT_CATEGORIES: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"})
_MARK_CATEGORIES: Final = frozenset({"Mn", "Mc", "Me"})
_INVISIBLE: Final = frozenset(
    chr(point)
    for points in (
        (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),  # joiners and fillers
        (0x13441, 0x13442),  # Egyptian blanks: letters in Unicode, but invisible
        range(0x180B, 0x1810),  # Mongolian variation selectors
        range(0xFE00, 0xFE10),  # variation selectors
        range(0xE0100, 0xE01F0),  # more of them
    )
    for point in points
)


def fold(name: str) -> str:
    """Return the form in which names are compared; text too long for a name is returned unchanged."""
    if name.isascii():
        return name.lower()
    if len(name) > _MAX_FOLDED_CHARS:
        return name
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def validate_name(name: str) -> str:
    """Return `name` in its displayed form (NFC). Raises `ValueError` with a sentence for the peer."""
    whole = name.isascii() or len(name) > _MAX_UNCOMPOSED_CHARS
    shown = name if whole else unicodedata.normalize("NFC", name)
    if not 1 <= len(shown) <= MAX_NAME_CHARS:
        raise ValueError(f"a name must have 1 to {MAX_NAME_CHARS} characters, not {len(shown)}")
    for index, char in enumerate(shown):
        category = unicodedata.category(char)
        if category in _LETTER_DIGIT_CATEGORIES and char not in _INVISIBLE:
            continue
        if index == 0:
            raise ValueError(f"a name begins with a letter or a digit, not {_describe_char(char)}")
        if char in _PUNCTUATION or (category in _MARK_CATEGORIES and char not in _INVISIBLE):
            continue
        raise ValueError(f"a name may contain letters, digits, '.', '_' and '-', not {_describe_char(char)}")
    return shown


def is_reserved(key: str) -> bool:
    """Return whether the folded name `key` is reserved: clients cannot choose it."""
    return key == SERVER_NAME or key.startswith(GUEST_PREFIX)


def conversation_name(one: str, other: str, number: int = 1) -> str:
    """Return the room name of a conversation; `number` distinguishes it from earlier ones of these names."""
    first, second = sorted((one, other))
    return f"@{first},{second}" if number == 1 else f"@{first},{second}#{number}"


def _describe_char(char: str) -> str:
    return f"{char!r} (U+{ord(char):04X})" if char.isprintable() else f"U+{ord(char):04X}"
