"""Names of users and rooms: what they may hold, how they compare.

A name is 1-32 code points after NFC, begins with a letter or digit, and goes on with letters, digits, marks,
`.`, `_` and `-`. Names compare by NFC + casefold and are shown as first written. Code points that nobody can
see are refused though Unicode calls some of them letters or marks (Default_Ignorable_Code_Point, UAX #44).
"""

import unicodedata
from typing import Final

MAX_NAME_CHARS: Final = 32
"""Code points in a name, after NFC."""

SERVER_NAME: Final = "server"
GUEST_PREFIX: Final = "guest-"

_MAX_UNCOMPOSED_CHARS: Final = 4 * MAX_NAME_CHARS
"""Code points that 32 may come from: NFC makes one of four at most (UAX #15, expansion factors)."""
_MAX_FOLDED_CHARS: Final = 1024
"""Code points of the longest text that is folded: far more than a conversation's name has. Normalizing puts
marks in order in quadratic time: 32,000 of them took a second."""
_PUNCTUATION: Final = frozenset("._-")
_LETTER_DIGIT_CATEGORIES: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"})
_MARK_CATEGORIES: Final = frozenset({"Mn", "Mc", "Me"})
_INVISIBLE: Final = frozenset(
    chr(point)
    for points in (
        (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),  # joiners and fillers
        (0x13441, 0x13442),  # Egyptian blanks: letters to Unicode, nothing to the eye
        range(0x180B, 0x1810),  # Mongolian variation selectors
        range(0xFE00, 0xFE10),  # variation selectors
        range(0xE0100, 0xE01F0),  # more of them
    )
    for point in points
)


def fold(name: str) -> str:
    """Return the form in which names compare; what is too long to be one is left as it is."""
    if name.isascii():
        return name.lower()
    if len(name) > _MAX_FOLDED_CHARS:
        return name
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def validate_name(name: str) -> str:
    """Return `name` in the form in which it is shown (NFC), or raise ValueError with the reason."""
    whole = name.isascii() or len(name) > _MAX_UNCOMPOSED_CHARS
    shown = name if whole else unicodedata.normalize("NFC", name)
    if not 1 <= len(shown) <= MAX_NAME_CHARS:
        raise ValueError(f"a name has 1 to {MAX_NAME_CHARS} characters, not {len(shown)}")
    for index, char in enumerate(shown):
        category = unicodedata.category(char)
        if category in _LETTER_DIGIT_CATEGORIES and char not in _INVISIBLE:
            continue
        if index == 0:
            raise ValueError(f"a name begins with a letter or a digit, not {_describe_char(char)}")
        if char in _PUNCTUATION or (category in _MARK_CATEGORIES and char not in _INVISIBLE):
            continue
        raise ValueError(f"a name holds letters, digits, '.', '_' and '-', not {_describe_char(char)}")
    return shown


def is_reserved(key: str) -> bool:
    """Tell whether the folded name `key` may not be chosen by a client."""
    return key == SERVER_NAME or key.startswith(GUEST_PREFIX)


def conversation_name(one: str, other: str, number: int = 1) -> str:
    """Name the conversation of two users, told apart by `number` from earlier ones of the same names."""
    first, second = sorted((one, other))
    return f"@{first},{second}" if number == 1 else f"@{first},{second}#{number}"


def _describe_char(char: str) -> str:
    return f"{char!r} (U+{ord(char):04X})" if char.isprintable() else f"U+{ord(char):04X}"
