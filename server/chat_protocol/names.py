"""Names of users and rooms: validation, and comparison without regard to case.

A name has 1 to 32 code points after NFC, begins with a letter or digit, and continues with letters, digits,
marks, `.`, `_` and `-`. Names are compared by NFC and casefold, and shown as first written. Code points that
are invisible, or that only stretch and join others, are rejected, though Unicode classes them as letters.
"""

import unicodedata
from typing import Final

from chat_protocol.characters import INVISIBLE, describe_char, only_joins

MAX_NAME_CHARS: Final = 32
"""Code points in a name, after NFC."""

SERVER_NAME: Final = "server"
GUEST_PREFIX: Final = "guest-"

_MAX_UNCOMPOSED_CHARS: Final = 4 * MAX_NAME_CHARS
"""Length before NFC beyond which the result cannot fit: NFC composes at most four code points into one
(UAX #15, expansion factors)."""
_MAX_FOLDED_CHARS: Final = 2 * _MAX_UNCOMPOSED_CHARS + 24
"""Length of the longest text that is folded: the name of a conversation, two names and a number. Normalizing
sorts marks in quadratic time: 32,000 of them took a second, and 1,000 of them 2 ms."""
_PUNCTUATION: Final = frozenset("._-")
_LETTER_DIGIT_CATEGORIES: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"})
_MARK_CATEGORIES: Final = frozenset({"Mn", "Mc", "Me"})


def fold(name: str) -> str:
    """Return the form in which names are compared; text too long for a name is returned unchanged."""
    if name.isascii():
        return name.lower()
    if len(name) > (_MAX_FOLDED_CHARS if name[0] == "@" else _MAX_UNCOMPOSED_CHARS):
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
        hidden = not char.isascii() and (INVISIBLE.match(char) is not None or only_joins(char))
        if category in _LETTER_DIGIT_CATEGORIES and not hidden:
            continue
        if index == 0:
            raise ValueError(f"a name begins with a letter or a digit, not {describe_char(char)}")
        if char in _PUNCTUATION or (category in _MARK_CATEGORIES and not hidden):
            continue
        if hidden and category[0] in "LM":
            raise ValueError(
                f"a name may not contain {describe_char(char)}, which is invisible or only joins"
            )
        raise ValueError(f"a name may contain letters, digits, '.', '_' and '-', not {describe_char(char)}")
    return shown


def name_problem(name: str) -> str | None:
    """Return why `name` is not a valid name, as a sentence for people; None if it is valid."""
    try:
        validate_name(name)
    except ValueError as error:
        return str(error)
    return None


def is_reserved(key: str) -> bool:
    """Return whether the folded name `key` is reserved: clients cannot choose it."""
    return key == SERVER_NAME or key.startswith(GUEST_PREFIX)


def conversation_name(one: str, other: str, number: int = 1) -> str:
    """Return the room name of a conversation; `number` distinguishes it from earlier ones of these names."""
    first, second = sorted((one, other))
    return f"@{first},{second}" if number == 1 else f"@{first},{second}#{number}"
