"""Skeletons of names: equal for names that look alike (UTS #39, section 4).

The prototypes come from the package homoglyphs-fork: pure Python (no compiler or wheel needed), MIT, and with
the newest data of all such packages (Unicode 17). confusable-homoglyphs and confusables have older data,
disarm maps to four scripts only, and the wrappers of ICU need a compiler or 60 MB of libraries. Only its data
file is read: the package's functions enumerate all combinations of a name.

Names are compared without case and shown as written, so this goes beyond the standard:
- A skeleton ignores case, and `i` counts as `l`, since `I` does. A name has the skeletons of its written
  form, its folded form and its upper-case form: Cyrillic VE O VE in capitals looks like Latin `BOB`, though
  its small letters do not look like `bob`.
- Compatibility forms are resolved (NFKD): fullwidth and mathematical letters differ in style only.
- Marks that a reader cannot count are dropped: a repeated mark, a dot on an `i`, the fifth mark in a row.

Invisible characters need no step of their own: `names.validate_name` rejects them.
"""

import importlib.resources
import unicodedata
from functools import cache, lru_cache
from typing import Final

import msgspec

from chat_protocol import names

_ASCII_ALIKE: Final = str.maketrans("01i", "oll")  # besides these, only `m` (looks like `rn`)
_DOTTED: Final = "lj"  # skeletons of letters that have a dot already
_MAX_MARKS_IN_A_ROW: Final = 4
"""Marks in a row that a reader can distinguish (UTS #39, section 5.4)."""
_MAX_ROUNDS: Final = 8
"""Bound for the steps to a fixed point; three are needed, as a test shows."""
_NAME_CATEGORIES: Final = "LMN"  # letters, marks, digits
_LEFT_TO_RIGHT_MARK: Final = "\u200e"  # the data puts it around characters of right-to-left scripts
_NAMES_KEPT: Final = 512
"""Names whose skeletons are remembered, at most 4 MB: a name is compared several times until it is taken."""
_CHARS_KEPT: Final = 16_384
"""Characters whose prototypes are remembered, about 3 MB: peers choose them, so their number is bounded."""


def ascii_skeleton(key: str) -> str:
    """Return the skeleton of an ASCII name; `key` is its folded form. Needs no data."""
    return key.translate(_ASCII_ALIKE).replace("m", "rn")


def skeleton(text: str) -> str:
    """Return the skeleton of `text`: equal for texts that look alike."""
    settled = unicodedata.normalize("NFD", text).translate(_prototypes_of_chars)
    return settled if settled.isascii() else _without_uncountable_marks(unicodedata.normalize("NFD", settled))


@lru_cache(_NAMES_KEPT)
def skeletons(shown: str, key: str) -> tuple[str, ...]:
    """Return all skeletons of a name that is not ASCII, from its written and its folded form."""
    return tuple(set(map(skeleton, {shown, key, shown.upper()})))


def imitates_reserved(shown: str, key: str) -> bool:
    """Return whether a name looks like a reserved one without being equal to it."""
    if shown.isascii():
        return False
    server, guest = ascii_skeleton(names.SERVER_NAME), ascii_skeleton(names.GUEST_PREFIX)
    return any(form == server or form.startswith(guest) for form in skeletons(shown, key))


def preload() -> None:
    """Load the data now, not with the first name that is not ASCII."""
    _prototypes()


class _PrototypesOfChars(dict[int, str | int]):
    """A table for `str.translate` that fills itself; emptied when it has `_CHARS_KEPT` characters."""

    def __missing__(self, point: int) -> str | int:
        char = chr(point)
        prototype = _prototype_of(char)
        if len(self) >= _CHARS_KEPT:
            self.clear()
        self[point] = found = point if prototype == char else prototype
        return found


_prototypes_of_chars: Final = _PrototypesOfChars()


def _prototype_of(char: str) -> str:
    """Return the prototype of a character: the fixed point of the mapping of confusables."""
    prototypes = _prototypes()
    if (
        char not in prototypes
        and unicodedata.category(char) == "Lo"
        and unicodedata.is_normalized("NFKD", char)
    ):
        return char  # most letters by far: without case, and with nothing to resolve
    for _ in range(_MAX_ROUNDS):
        alike = "".join(prototypes.get(each, each) for each in char)
        # One by one: in a word, the lower case of a capital sigma depends on its position.
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
    """Load the mapping of each character to its prototype, one per group of confusables.

    The data lists each pair in both directions: a prototype with all characters that look like it, each of
    those with its prototype only. In a group of two either can be the prototype.
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
