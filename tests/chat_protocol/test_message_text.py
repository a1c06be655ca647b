import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.message_text import MAX_MESSAGE_BYTES, text_problem


def naive(text: str) -> bool:
    """Model: whether `text` is a valid message, by the text of the protocol."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 1 <= size <= 8192 and not any(
        (code < 0x20 and char not in "\n\t") or 0x7F <= code < 0xA0 for char in text for code in [ord(char)]
    )


@given(st.text(st.characters() | st.sampled_from("\0\t\n\r\x1b\x7f\x85\x9f\ud800\u2028\u202e"), max_size=20))
def test_text_problem_agrees_with_the_model(text: str) -> None:
    assert (text_problem(text) is None) == naive(text)


@pytest.mark.parametrize("char", ["a", "é", "字", "😀"])
def test_text_problem_limit_counts_bytes_of_utf8(char: str) -> None:
    width = len(char.encode())
    assert text_problem(char * (MAX_MESSAGE_BYTES // width)) is None
    problem = text_problem(char * (MAX_MESSAGE_BYTES // width + 1))
    assert problem is not None
    assert str(MAX_MESSAGE_BYTES // width * width + width) in problem


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_text_problem_allows_line_feed_and_tab_only(code: int) -> None:
    problem = text_problem(f"a{chr(code)}b")
    if chr(code) in "\n\t":
        assert problem is None
    else:
        assert problem is not None
        assert f"U+{code:04X}" in problem


def test_text_problem_rejects_an_empty_text() -> None:
    assert text_problem("") is not None
    assert text_problem(" ") is None


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "é\ud83d", "\udc80" * 5000])
def test_text_problem_rejects_lone_surrogates(text: str) -> None:
    assert text_problem(text) is not None


def test_text_problem_does_not_quote_the_text() -> None:
    secret = "x" * MAX_MESSAGE_BYTES
    problem = text_problem(secret + "\0")
    assert problem is not None
    assert not re.search("xx", problem)
