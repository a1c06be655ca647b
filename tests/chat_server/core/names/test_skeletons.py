# ruff: noqa: RUF001  characters that look alike are what this file is about
import string
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol import names
from chat_server.core.names import skeletons
from chat_server.core.names.skeletons import ascii_skeleton, imitates_reserved, skeleton

IN_NAMES = st.characters(categories=("L", "M", "Nd"))
WORDS = st.text(IN_NAMES | st.sampled_from("lIi10Oom._-\u0301\u0307\u0323АВЕКМНОРСТХабвιΙßſ"), max_size=20)


@given(WORDS)
def test_skeleton_of_a_skeleton_is_the_same(word: str) -> None:
    assert skeleton(skeleton(word)) == skeleton(word)


@given(WORDS)
def test_skeleton_ignores_normalization(word: str) -> None:
    assert skeleton(unicodedata.normalize("NFD", word)) == skeleton(unicodedata.normalize("NFC", word))


def test_skeleton_of_every_character_reaches_a_fixed_point() -> None:
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(char)[0] in "LMN":
            assert skeleton(skeleton(char)) == skeleton(char), f"U+{ord(char):04X}"


def test_ascii_skeleton_agrees_with_the_data() -> None:
    for char in string.ascii_letters + string.digits + "._-":
        assert ascii_skeleton(char.lower()) == skeleton(char) == skeleton(char.upper())


@given(st.text(string.ascii_letters + string.digits + "._-"))
def test_ascii_skeleton_agrees_for_words(word: str) -> None:
    assert ascii_skeleton(word.lower()) == skeleton(word)


def test_prototypes_are_loaded() -> None:
    prototypes = skeletons._prototypes()
    assert len(prototypes) > 5000
    assert prototypes["\u0430"] == "a"
    assert not any("\u200e" in char + alike for char, alike in prototypes.items())


@pytest.mark.parametrize(
    "name", ["ѕегѵег", "ѕerver", "ｓｅｒｖｅｒ", "ＳＥＲＶＥＲ", "𝓼𝓮𝓻𝓿𝓮𝓻", "ｇｕｅｓｔ-abcd", "guеst-7"]
)
def test_lookalike_of_a_reserved_name_imitates_it(name: str) -> None:
    assert imitates_reserved(name, names.fold(name))


@pytest.mark.parametrize("name", ["server", "guest-1", "сервер", "sérver", "guést-1", "gast-é"])
def test_reserved_and_other_names_imitate_nothing(name: str) -> None:
    assert not imitates_reserved(name, names.fold(name))


def test_preload_reads_the_data_once() -> None:
    skeletons.preload()
    assert skeletons._prototypes() is skeletons._prototypes()
