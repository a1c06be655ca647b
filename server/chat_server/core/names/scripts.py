"""Scripts: which letters a name may mix (UTS #39, sections 5.1 to 5.3).

Knows the scripts of characters. Must not know who holds a name.

A name is "highly restrictive": of one script, or of Latin and what one of Chinese, Japanese and Korean is
written with. The Unicode properties come from fontTools: pure Python, MIT, and new with each Unicode. It has
the Script_Extensions too, which the standard asks for (the mark of a long vowel is Hiragana and Katakana).
unicodedataplus has them as well, but is compiled, and has wheels for a few versions of Python only.
"""

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Final, cast

_COMMON_SCRIPTS: Final = frozenset({"Zyyy", "Zinh"})  # Common and Inherited go with every script
_WRITING_SYSTEMS: Final = {
    "Hani": frozenset({"Hanb", "Jpan", "Kore"}),
    "Hira": frozenset({"Jpan"}),
    "Kana": frozenset({"Jpan"}),
    "Hang": frozenset({"Kore"}),
    "Bopo": frozenset({"Hanb"}),
}
"""Writing systems of several scripts that a script belongs to (UTS #39, table 1a)."""
_BESIDE_LATIN: Final = ("Jpan", "Kore", "Hanb")


def mixing_problem(name: str) -> str | None:
    """Say in a sentence why the letters or digits of `name` do not go together, None if they do."""
    if name.isascii():
        return None
    found = [systems for systems in map(_writing_systems, name) if systems]
    if found and not frozenset.intersection(*found):
        others = [systems for systems in found if "Latn" not in systems]
        if not any(all(system in systems for systems in others) for system in _BESIDE_LATIN):
            return f"a name does not mix {_scripts_of(name)} letters, which can look alike"
    zeros = {ord(char) - unicodedata.decimal(char) for char in name if char.isdecimal()}
    if len(zeros) > 1:
        return "a name does not mix digits of several kinds, which can look alike"
    return None


def preload() -> None:
    """Read the properties now instead of at the first name that is not ASCII."""
    _extensions()


def _writing_systems(char: str) -> frozenset[str]:
    """Return the writing systems that a character belongs to, none if it goes with all of them."""
    scripts = _extensions()(char)
    if scripts & _COMMON_SCRIPTS:
        return frozenset()
    return frozenset(scripts).union(*(_WRITING_SYSTEMS.get(script, ()) for script in scripts))


def _scripts_of(name: str) -> str:
    from fontTools.unicodedata import script, script_name  # noqa: PLC0415  as below

    found = dict.fromkeys(each for each in map(script, name) if each not in _COMMON_SCRIPTS)
    for shared in map(_extensions(), name):
        if not shared & _COMMON_SCRIPTS and not shared & found.keys():
            found[min(shared)] = None  # named after one of those that share the mark
    return " and ".join(script_name(each) for each in found)


@cache
def _extensions() -> Callable[[str], set[str]]:
    from fontTools.unicodedata import script_extension  # noqa: PLC0415  6 ms that ASCII names never need

    return cast("Callable[[str], set[str]]", script_extension)
