import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_client.text.sanitize import MAX_COMBINING_MARKS, escape_json_controls, one_line, sanitize

OBEYED = ["\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\r", "\x08", "\x00", "\x7f", "\x0c", "\x0e", "\x85"]
UNSEEN = [
    "\u202e",
    "\u2066",
    "\u200f",
    "\u061c",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\u200b",
    "\u00ad",
    "\U000e0041",
]


@pytest.mark.parametrize("text", OBEYED + UNSEEN, ids=ascii)
def test_sanitize_shows_control_and_invisible_characters_by_code_point(text: str) -> None:
    shown = sanitize(f"a{text}b")
    assert f"<U+{ord(text[0]):04X}>" in shown
    assert text[0] not in shown


@pytest.mark.parametrize(
    "text",
    ["plain", "grüße", "日本語", "שלום", "👩\u200d🔬", "\u0645\u06cc\u200c\u062e", "a\u00a0b", "e\u0301"],
)
def test_sanitize_keeps_text_of_all_scripts(text: str) -> None:
    assert sanitize(text) == text


def test_sanitize_keeps_line_breaks_and_expands_tabs() -> None:
    assert sanitize("a\n\tb") == "a\n    b"
    assert one_line("a\nb") == "a b"


def test_sanitize_limits_combining_marks() -> None:
    assert sanitize("a" + "\u0301" * 50 + "b") == "a" + "\u0301" * MAX_COMBINING_MARKS + "b"
    assert sanitize(("a" + "\u0301" * 3) * 9) == ("a" + "\u0301" * 3) * 9


@given(st.text())
def test_sanitize_leaves_no_control_or_bidi_character(text: str) -> None:
    for char in sanitize(text):
        assert char in "\n\u200c\u200d" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_escape_json_controls_keeps_the_value(text: str) -> None:
    shown = escape_json_controls(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert not [char for char in shown if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}]
