"""Skeletons: what a name comes down to for the eye (UTS #39, section 4).

Knows which characters look like which. Must not know who holds a name.

The prototypes come from the package homoglyphs-fork: pure Python (no compiler, no wheel to wait for), MIT,
and of all such packages the one with the newest data (Unicode 17). confusable-homoglyphs and confusables
have older data, disarm folds towards four scripts only, and the wrappers of ICU need a compiler or bring 60
MB of libraries. Only the data file is read: the package's functions spell out every combination of a name.

Where this goes beyond the standard, it is because names here compare without case and are shown as written:
- A skeleton forgets case, and `i` counts as `l`, since `I` does. Each name has the skeletons of its written
  form, its folded form and its capitals: Cyrillic VE O VE in capitals is Latin `BOB` for the eye, though its
  small letters are not `bob`.
- Compatibility forms are resolved (NFKD), as fullwidth and mathematical letters differ in style only.
- Marks that a reader cannot count are left out: a mark repeated, a dot on an `i`, the fifth mark in a row.
Invisible characters need no step of their own: names hold none (`names.clean`).
"""

import importlib.resources
import unicodedata
from functools import cache, lru_cache
from typing import Final

import msgspec

from chat_protocol import names

_ASCII_ALIKE: Final = str.maketrans("01i", "oll")  # beside these only `m`, which is `rn`
_DOTTED: Final = "lj"  # skeletons of letters that have a dot already
_MAX_MARKS_IN_A_ROW: Final = 4
"""Marks in a row that a reader tells apart (UTS #39, section 5.4)."""
_MAX_ROUNDS: Final = 8
"""Steps after which every character has settled; three are needed, as a test shows."""
_NAME_CATEGORIES: Final = "LMN"  # letters, marks, digits
_LEFT_TO_RIGHT_MARK: Final = "\u200e"  # the data has it around what is written from right to left


def ascii_skeleton(key: str) -> str:
    """Return the skeleton of a name that is ASCII; `key` is its folded form. Needs no data."""
    return key.translate(_ASCII_ALIKE).replace("m", "rn")


def skeleton(text: str) -> str:
    """Return what `text` comes down to for the eye: equal for texts that cannot be told apart."""
    settled = "".join(map(_prototype_of, unicodedata.normalize("NFD", text)))
    return settled if settled.isascii() else _without_uncountable_marks(unicodedata.normalize("NFD", settled))


def skeletons(shown: str, key: str) -> tuple[str, ...]:
    """Return all skeletons of a name that is not ASCII, by its written form and its folded form."""
    return tuple({skeleton(shown), skeleton(key), skeleton(shown.upper())})


def imitates_reserved(shown: str, key: str) -> bool:
    """Tell whether a name cannot be told apart from a reserved one, though it is none by its letters."""
    if shown.isascii():
        return False
    server, guest = ascii_skeleton(names.SERVER_NAME), ascii_skeleton(names.GUEST_PREFIX)
    return any(form == server or form.startswith(guest) for form in skeletons(shown, key))


def preload() -> None:
    """Read the data now instead of at the first name that is not ASCII."""
    _prototypes()


@lru_cache(4096)  # far more than all letters that names of one place use; bounded, as peers choose them
def _prototype_of(char: str) -> str:
    """Return what a character looks like, in a form that looks like nothing else any more."""
    prototypes = _prototypes()
    for _ in range(_MAX_ROUNDS):
        alike = "".join(prototypes.get(each, each) for each in char)
        # One by one: in a word, the small form of a capital sigma hangs on its place.
        small = "".join(each.lower() for each in unicodedata.normalize("NFKD", alike)).replace("i", "l")
        after = unicodedata.normalize("NFD", small)
        if after == char:
            break
        char = after
    return char


def _without_uncountable_marks(text: str) -> str:
    kept = [""]
    row = 0
    for char in text:
        if unicodedata.category(char) in {"Mn", "Me"}:
            if char == kept[-1] or row == _MAX_MARKS_IN_A_ROW or (char == "\u0307" and kept[-1] in _DOTTED):
                continue
            row += 1
        else:
            row = 0
        kept.append(char)
    return "".join(kept)


@cache
def _prototypes() -> dict[str, str]:
    """Read who looks like whom, and choose of each group the one that stands for it.

    The data names each pair in both directions: a prototype beside all who look like it, each of these beside
    its prototype only. In a group of two either may stand for both.
    """
    path = importlib.resources.files("homoglyphs_fork") / "confusables.json"
    alike = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
    found = {}
    for marked, others in alike.items():
        char = marked.strip(_LEFT_TO_RIGHT_MARK)
        if len(char) == len(others) == 1 and unicodedata.category(char)[0] in _NAME_CATEGORIES:
            other = others[0].strip(_LEFT_TO_RIGHT_MARK)
            if len(other) > 1 or len(alike[others[0]]) > 1 or other < char:
                found[char] = other
    return found
