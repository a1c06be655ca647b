import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.message_text import MAX_MESSAGE_BYTES, decode_text, encoding_problem, text_problem


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


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("caf\udce9", "the byte 0xE9, which is not UTF-8"),
        (b"caf\xe9 \xff".decode("utf-8", "surrogateescape"), "the byte 0xE9"),
        ("a\ud83d", "the lone surrogate U+D83D"),
        ("a\udc00", "the lone surrogate U+DC00"),
    ],
    ids=ascii,
)
def test_text_problem_names_the_byte_or_the_surrogate(text: str, named: str) -> None:
    problem = text_problem(text)
    assert problem is not None
    assert named in problem
    assert problem.isprintable()


@given(st.text(st.characters() | st.sampled_from("\ud800\udbff\udc80\udcff\udfff😀"), max_size=8))
def test_encoding_problem_is_none_for_what_utf8_encodes(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        assert encoding_problem(text)
    else:
        assert encoding_problem(text) is None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decode_text_returns_what_was_encoded_but_a_mark_at_the_start(text: str) -> None:
    assert decode_text(text.encode()) == text
    assert decode_text(text.encode("utf-8-sig"), begins_stream=True) == text
    assert decode_text(text.encode("utf-8-sig")) == "\ufeff" + text


@pytest.mark.parametrize(
    "data", [b"caf\xe9", b"\xe9\n", b"\xed\xa0\x80", b"\xc3", b"\xff\xfe", b"a\xffb"], ids=ascii
)
@pytest.mark.parametrize("begins_stream", [True, False])
def test_decode_text_of_other_bytes_raises_a_sentence(data: bytes, begins_stream: bool) -> None:
    with pytest.raises(ValueError, match="not UTF-8") as raised:
        decode_text(data, begins_stream=begins_stream)
    assert not isinstance(raised.value, UnicodeError)  # whose words are a codec's
    assert str(raised.value).isprintable()


def test_decode_text_names_the_byte_or_the_encoding() -> None:
    with pytest.raises(ValueError, match="0xE9"):
        decode_text(b"caf\xe9")
    with pytest.raises(ValueError, match="UTF-16"):
        decode_text("hi".encode("utf-16"), begins_stream=True)
