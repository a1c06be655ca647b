"""The check of words finds each kind of use, and leaves what programs read."""

from pathlib import Path

import pytest

from support import words


def found(folder: Path, name: str, text: str) -> list[str]:
    """Return the words that are found in a file with this name and text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [one.word for one in words.find(str(path))]


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.py", "# it stood still", "stood"),
        ("a.py", '"""Helpers for tests."""', "helpers"),
        ("a.py", "talkers = []", "talkers"),
        ("a.py", "class TalkBot: ...", "talk"),
        ("a.py", "def f(who): ...", "who"),
        ("a.py", 'x = "anew"', "anew"),
        ("a.py", 'x = "talk-ann"', "talk"),
        ("a.py", 'x = f"talk{1}"', "talk"),
        ("a.py", 'x = b"told"', "told"),
        ("a.md", "Those who wait.", "who"),
        ("a.json", '{"title": "Who"}', "who"),
        ("a.service", "# a moment", "moment"),
        ("a.c", "int talk_count;", "talk"),
        ("Makefile", "all:  ## tell it", "tell"),
    ],
)
def test_unused_word_is_found(tmp_path: Path, name: str, text: str, word: str) -> None:
    assert found(tmp_path, name, text) == [word]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "client.who()"),
        ("a.py", 'x = {"type": "who"}'),
        ("a.py", 'x = "/who"'),
        ("a.py", "from chat_protocol.commands import Who"),
        ("a.py", "whole = withstand = understood = stalled"),
        ("a.py", 'x = "cannot tell"'),
        ("a.md", "The command `who` lists the users."),
        ("a.play", 'ann → {"type": "who"}'),
    ],
)
def test_word_of_the_wire_is_not_found(tmp_path: Path, name: str, text: str) -> None:
    assert not found(tmp_path, name, text)
