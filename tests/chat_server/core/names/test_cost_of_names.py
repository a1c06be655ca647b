"""What names cost, counted in lookups: they are compared at every hello, and peers choose them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import names
from chat_server.core.names import scripts, skeletons

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    def forget() -> None:
        skeletons.skeletons.cache_clear()
        skeletons._prototypes_of_chars.clear()
        scripts._writing_systems.cache_clear()

    forget()
    yield
    forget()


def watch(monkeypatch: pytest.MonkeyPatch, name: str, seen: list[str]) -> None:
    """Note the arguments of a function in skeletons.py."""
    plain = getattr(skeletons, name)

    def noted(text: str) -> str:
        seen.append(text)
        return str(plain(text))

    monkeypatch.setattr(skeletons, name, noted)


def test_skeletons_of_a_name_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    watch(monkeypatch, "skeleton", made)
    for _ in range(3):
        skeletons.skeletons("Жук", "жук")
    assert sorted(made) == ["ЖУК", "Жук", "жук"]
    skeletons.skeletons("汉字", "汉字")  # without case there is one form
    assert made[3:] == ["汉字"]


def test_prototype_of_a_character_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    watch(monkeypatch, "_prototype_of", asked)
    for number in range(20):
        skeletons.skeletons("ъ" * 20 + "ъыьэ"[number % 4], "ъ" * 20 + "ъыьэ"[number % 4])
    assert len(asked) == len(set(asked))


def test_characters_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeletons, "_CHARS_KEPT", 50)
    for point in range(0x4E00, 0x4E00 + 500):
        skeletons.skeleton(chr(point))
        assert len(skeletons._prototypes_of_chars) <= 50
    assert skeletons.skeletons.cache_info().maxsize == skeletons._NAMES_KEPT
    assert scripts._writing_systems.cache_info().maxsize == scripts._CHARS_KEPT


def test_text_too_long_for_a_name_is_not_normalized() -> None:
    for text in ("é" * 129, "@" + "é" * 300):
        assert names.fold(text.upper()) == text.upper()
    longest = names.conversation_name("É" * 32, "Ü" * 32, 10**18)
    assert names.fold(longest) == longest.lower()
    assert names.fold("E\u0301" * 32) == "é" * 32
