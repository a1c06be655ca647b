"""Scripts that may be mixed in a name (UTS #39, sections 5.1 to 5.3).

The level is "highly restrictive": one script, or Latin with the scripts of either Chinese, Japanese or
Korean. The Unicode properties come from fontTools: pure Python, MIT, updated with each Unicode version. It
has the Script_Extensions that the standard requires (the prolonged sound mark is both Hiragana and Katakana).
unicodedataplus has them as well, but is compiled, and has wheels for a few Python versions only.
"""

import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final, cast

_COMMON_SCRIPTS: Final = frozenset({"Zyyy", "Zinh"})  # Common and Inherited match every script
_WRITING_SYSTEMS: Final = {
    "Hani": frozenset({"Hanb", "Jpan", "Kore"}),
    "Hira": frozenset({"Jpan"}),
    "Kana": frozenset({"Jpan"}),
    "Hang": frozenset({"Kore"}),
    "Bopo": frozenset({"Hanb"}),
}
"""Writing systems of several scripts that a script belongs to (UTS #39, table 1a)."""
_BESIDE_LATIN: Final = ("Jpan", "Kore", "Hanb")
_CHARS_KEPT: Final = 16_384
"""Characters whose scripts are remembered, about 2 MB: peers choose them, so their number is bounded."""


def mixing_problem(name: str) -> str | None:
    """Return a sentence if the letters or digits of `name` must not be mixed, None if they may."""
    if name.isascii():
        return None
    found = {systems for systems in map(_writing_systems, name) if systems}
    if found and not frozenset.intersection(*found):
        others = [systems for systems in found if "Latn" not in systems]
        if not any(all(system in systems for systems in others) for system in _BESIDE_LATIN):
            return f"a name cannot mix {_scripts_of(name)} letters, which can look alike"
    zeros = {ord(char) - unicodedata.decimal(char) for char in name if char.isdecimal()}
    if len(zeros) > 1:
        return "a name cannot mix digits of several scripts, which can look alike"
    return None


def preload() -> None:
    """Load the Unicode properties now, not with the first name that is not ASCII."""
    _extensions()


@lru_cache(_CHARS_KEPT)
def _writing_systems(char: str) -> frozenset[str]:
    """Return the writing systems of a character, an empty set if it belongs to all of them."""
    return _systems_of(frozenset(_extensions()(char)))


@cache  # a few hundred combinations in all of Unicode, which the characters share
def _systems_of(scripts: frozenset[str]) -> frozenset[str]:
    if scripts & _COMMON_SCRIPTS:
        return frozenset()
    return scripts.union(*(_WRITING_SYSTEMS.get(script, ()) for script in scripts))


def _scripts_of(name: str) -> str:
    from fontTools.unicodedata import script_name  # noqa: PLC0415  as below

    chars = dict.fromkeys(name)
    found = dict.fromkeys(each for each in map(_script_of, chars) if each not in _COMMON_SCRIPTS)
    for shared in map(_extensions(), chars):
        if not shared & _COMMON_SCRIPTS and not shared & found.keys():
            found[min(shared)] = None  # one of the scripts that share this character
    return " and ".join(script_name(each) for each in found)


@lru_cache(_CHARS_KEPT)
def _script_of(char: str) -> str:
    from fontTools.unicodedata import script  # noqa: PLC0415  as below

    return cast("str", script(char))


@cache
def _extensions() -> Callable[[str], set[str]]:
    from fontTools.unicodedata import script_extension  # noqa: PLC0415  6 ms that ASCII names never need

    return cast("Callable[[str], set[str]]", script_extension)
