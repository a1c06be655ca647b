import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_client.text.render import INDENT, Painter, format_clock, mentions, message_text, wrap_lines
from chat_protocol.events import MessageEvent

PLAIN = Painter(colours=False)


def said(text: str, username: str = "bob", origin: str = "client") -> MessageEvent:
    return MessageEvent(
        room="lobby", seq=1, sender="s", username=username, message=text, timestamp=0.0, origin=origin
    )


def test_message_is_rendered_with_time_and_name() -> None:
    assert re.fullmatch(r"\d\d:\d\d bob: hi", message_text(said("hi"), PLAIN))
    assert message_text(said("hi"), PLAIN, place="#dev").endswith(" #dev bob: hi")
    assert message_text(said("hi bob"), PLAIN, mentioned=True).endswith(" » bob: hi bob")


def test_message_of_the_server_is_rendered_in_brackets() -> None:
    assert message_text(said("hi", "server", "server"), PLAIN).endswith(" [server] hi")


def test_painter_without_colours_returns_plain_text() -> None:
    assert "\x1b" not in message_text(said("hi"), PLAIN, mentioned=True)
    assert "\x1b[" in message_text(said("hi"), Painter(colours=True))


@given(st.text(min_size=1), st.text(min_size=1, max_size=20), st.integers(0, 60))
def test_message_with_line_breaks_is_indented(text: str, username: str, width: int) -> None:
    shown = message_text(said(text, username), PLAIN, width=width)
    assert all(line.startswith(INDENT) for line in shown.split("\n")[1:])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", shown)


def test_long_line_is_wrapped_with_an_indent() -> None:
    lines = message_text(said("é" * 50 + " 14:03 ann: forged"), PLAIN, width=40).split("\n")
    assert all(len(line) <= 40 for line in lines)
    assert all(line.startswith(INDENT) for line in lines[1:])


URL = "https://example.org/" + "a" * 60


@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"see {URL}",
        f"see {URL} for more",
        f"some words before it\n{URL}\n{URL} x",
        f"a {URL} b {URL} c",
        "b" * 99,
    ],
)
def test_address_is_never_cut(text: str) -> None:
    shown = message_text(said(text), PLAIN, width=40)
    for word in text.split():
        assert shown.split().count(word) == text.split().count(word)
    assert not any(line.endswith(" ") or not line.strip() for line in shown.split("\n"))


def test_international_address_is_never_cut() -> None:
    url = "https://de.example/wiki/" + "Bär" * 20
    assert url in message_text(said(f"see {url}"), PLAIN, width=40)


@given(
    st.text(" x14:03an/é\u00a0\u2003\u2800\u3164\uffa0\u200d\n日", min_size=1, max_size=200),
    st.integers(13, 60),
)
def test_what_the_terminal_wraps_does_not_look_like_a_message(text: str, width: int) -> None:
    for line in message_text(said(text), PLAIN, width=width).split("\n"):
        for at in range(width, len(line), width):
            assert not re.search("[\\s\u2800\u3164\uffa0\u200d]", line[at : at + width]), line


def test_wrapping_counts_columns_of_wide_characters() -> None:
    lines = list(wrap_lines("日" * 30, 20, lambda text: 2 * len(text)))
    assert [len(line) for line in lines] == [10, 13, 13, 12]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("hi Ann!", True),
        ("ANN: look", True),
        ("@ann", True),
        ("ann.", True),
        ("hanna", False),
        ("ann-marie", False),
    ],
)
def test_mention_is_the_whole_name_in_any_case(text: str, named: bool) -> None:
    assert mentions(text, "ann") is named


def test_invalid_timestamp_is_rendered_as_dashes() -> None:
    assert format_clock(float("nan")) == "--:--"
    assert format_clock(1e300) == "--:--"
