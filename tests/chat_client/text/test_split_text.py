import re

from hypothesis import given
from hypothesis import strategies as st

from chat_client.text.split_text import split_text


def test_split_text_within_the_limit_is_one_piece() -> None:
    assert split_text("as it is\n  indented ") == ["as it is\n  indented "]
    assert split_text(" \n ") == []


def test_split_text_prefers_lines_to_sentences_to_words() -> None:
    assert split_text("one two three\nfour five six", 16) == ["one two three", "four five six"]
    assert split_text("One two three. Four five", 16) == ["One two three.", "Four five"]
    assert split_text("one two three four five", 16) == ["one two three", "four five"]


def test_split_text_breaks_a_long_word_between_characters() -> None:
    assert split_text("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    assert split_text("e\u0301" * 5, 10) == ["e\u0301" * 3, "e\u0301" * 2]


@given(st.text(max_size=300), st.integers(8, 64))
def test_split_text_pieces_fit_and_keep_all_but_white_space(text: str, limit: int) -> None:
    text = text.encode(errors="replace").decode()
    pieces = split_text(text, limit)
    assert all(1 <= len(piece.encode()) <= limit for piece in pieces)
    assert re.sub(r"\s", "", "".join(pieces)) == re.sub(r"\s", "", text)
