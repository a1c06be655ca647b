# ruff: noqa: RUF001  other scripts are what this file is about
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.characters import BLANK, INVISIBLE, describe_char, only_joins, replace_unsafe

# Prepended_Concatenation_Mark (UAX #44): signs in category Cf that are visible.
VISIBLE_FORMATS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
# Python's tables have no Default_Ignorable_Code_Point; these are its members outside of category Cf.
IGNORABLE_LETTERS_AND_MARKS = {
    *(0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0),
    *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
}


def test_invisible_are_the_formats_and_the_ignorable_letters_and_marks() -> None:
    for point in range(sys.maxunicode + 1):
        char = chr(point)
        hidden = point in IGNORABLE_LETTERS_AND_MARKS or (
            unicodedata.category(char) == "Cf" and point not in VISIBLE_FORMATS
        )
        if hidden:
            assert INVISIBLE.match(char), hex(point)
        elif unicodedata.category(char) not in {"Cf", "Cn"} and point not in {0x13441, 0x13442}:
            assert not INVISIBLE.match(char), hex(point)


@pytest.mark.parametrize(
    "text",
    [
        "hi",
        "a b\xa0c\u3000d",
        "héllo 字典 ✓ 😀",
        "\U0001f469\u200d\U0001f4bb",  # woman, joiner, laptop
        "❤\ufe0f\u200d\U0001f525",  # heart on fire
        "1\ufe0f\u20e3",  # keycap
        "می\u200cخواهم",
        "क्\u200dष",
        "葛\U000e0100",
        "\u1820\u180b",
        "\u06dd",
    ],
)
def test_replace_unsafe_keeps_visible_text_and_what_shapes_it(text: str) -> None:
    assert replace_unsafe(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a\ufffdb"),
        ("\u2066a\u2069", "\ufffda\ufffd"),
        ("a\u200bb\ufeff", "a\ufffdb\ufffd"),
        ("a\u200db", "a\ufffdb"),
        ("字\u200d", "字\ufffd"),
        ("字\u200da", "字\ufffda"),
        (" \u200c字", " \ufffd字"),
        ("x\ufe0f", "x\ufffd"),
        ("1\ufe0f", "1\ufffd"),
        ("x\ufe0f\u20e3", "x\ufffd\u20e3"),
        ("😀\ufe0f\ufe0f\U000e0101", "😀\ufe0f\ufffd\ufffd"),
        ("a\U000e0041", "a\ufffd"),
        ("a\u3164b\u115f", "a\ufffdb\ufffd"),
        ("a\x1b[2J\x9b\x00\t\r\n", "a\ufffd[2J\ufffd\ufffd\t\ufffd\n"),
        ("a\ud800\udce9", "a\ufffd\ufffd"),
    ],
)
def test_replace_unsafe_shows_what_acts_or_hides(text: str, shown: str) -> None:
    assert replace_unsafe(text) == shown


@given(st.text(st.characters() | st.sampled_from("\u200c\u200d\ufe0f\u20e31a字\u0301\u202e\ud800")))
def test_replace_unsafe_leaves_no_invisible_run_and_no_control(text: str) -> None:
    shown = replace_unsafe(text)
    assert len(shown) == len(text)
    shown.encode()
    assert replace_unsafe(shown) == shown
    for before, char in zip(" " + shown, shown, strict=False):
        assert char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs"}
        if INVISIBLE.match(char):
            assert not before.isascii() or (char in "\ufe0e\ufe0f" and before in "0123456789#*")


def test_blank_spans_white_space_and_what_shows_nothing() -> None:
    for char in " \t\xa0\u2003\u3000\u200b\u2060\ufeff\u200d\ufe0f\u3164\u2800\u00ad":
        assert BLANK.fullmatch(char), hex(ord(char))
    for char in "a/\u0301字\x00\x1b":
        assert not BLANK.fullmatch(char), hex(ord(char))


def test_only_joins_is_true_for_joining_characters_of_unicode_and_rfc_5892() -> None:
    for point in (0x640, 0x7FA, 0x883, 0x884, 0x885, 0x2CD, 0x302E, 0x302F, *range(0x3031, 0x3036), 0x303B):
        assert only_joins(chr(point)), hex(point)
    for char in "\ufe71\ufe73\ufe7f\ufcf2\u0332\u0305\ufe20":  # presentation forms, and lines
        assert only_joins(char), hex(ord(char))
    for char in "aéأ字ー々ゝ\u0301\u0331\u093e\u06fd\u3007":
        assert not only_joins(char), hex(ord(char))


@pytest.mark.parametrize(
    ("char", "described"),
    [
        ("a", "'a' (U+0061)"),
        ("\x1b", "U+001B"),
        ("\u202e", "U+202E"),
        ("\ud800", "U+D800"),
        ("\udce9", "the byte 0xE9, which is not UTF-8"),
        ("\udc7f", "U+DC7F"),
    ],
)
def test_describe_char_names_code_points_and_bytes(char: str, described: str) -> None:
    assert describe_char(char) == described
