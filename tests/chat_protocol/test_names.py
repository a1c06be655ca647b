import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.names import MAX_NAME_CHARS, conversation_name, fold, is_reserved, validate_name

WORDS = st.text(
    st.characters(categories=("L", "M", "Nd"))
    | st.sampled_from("ßſŉİıΐςΣᾳǰﬁ\u0301\u0323\u0345\u0307Åé각가각._-"),
    min_size=1,
    max_size=40,
)


@given(WORDS)
def test_what_is_clean_stays_as_it_is_and_compares_as_what_was_written(written: str) -> None:
    try:
        name = validate_name(written)
    except ValueError:
        return
    assert validate_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert 1 <= len(name) <= MAX_NAME_CHARS
    assert fold(name) == fold(written)


@given(WORDS)
def test_folding_is_done_once_and_forgets_case_and_normalization(written: str) -> None:
    folded = fold(written)
    assert fold(folded) == folded
    assert fold(unicodedata.normalize("NFD", written)) == folded
    assert fold(unicodedata.normalize("NFC", written)) == folded


def test_folding_any_single_character_is_done_once() -> None:
    for char in map(chr, range(sys.maxunicode + 1)):
        folded = fold(char)
        assert folded == char or fold(folded) == folded


@given(st.text(max_size=40))
def test_a_name_is_clean_or_refused_with_a_sentence_that_is_safe_to_show(written: str) -> None:
    try:
        name = validate_name(written)
    except ValueError as error:
        shown = str(error)
    else:
        shown = name
        assert not set(name) & set(" @,/#\n\t")
    assert shown.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "Ann",
        "7of9",
        "zoë",
        "字典",
        "a.b_c-d",
        "Олег",
        "نور",
        "हिन्दी",
        "x" * 32,
        "é" * 32,
        "e\u0301" * 32,
    ],
)
def test_letters_and_digits_of_any_script_make_a_name(name: str) -> None:
    assert validate_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 33,
        "e\u0301" * 33,
        ".a",
        "_a",
        "-a",
        "\u0301a",
        "a b",
        "a@b",
        "a,b",
        "a/b",
        "a#1",
        "@a,b",
        "a\n",
        "a\0",
        "a\x1b[2J",
        "a\u00ad",
        "a\u034f",
        "a\u115f",
        "\u3164",
        "a\u180b",
        "a\u200b",
        "a\u200d",
        "a\u202e",
        "a\u2060",
        "a\ufe0f",
        "a\ufeff",
        "\uffa0",
        "a\U000e0100",
        "a\U000e0041",
        "a\ud800",
        "a\U00013441",
        "½",
        "a😀",
        "a\xa0b",
    ],
)
def test_spaces_signs_controls_and_what_nobody_can_see_do_not(name: str) -> None:
    with pytest.raises(ValueError, match="a name"):
        validate_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann", "aNN"),
        ("STRASSE", "straße"),
        ("Zoë", "ZOE\u0308"),
        ("Å", "\u212b"),
        ("ΣΑΣ", "σας"),
        ("K", "\u212a"),
        ("\u0390", "\u0399\u0308\u0301"),
        ("\u03b1\u0345\u0301", "\u1fb4"),
    ],
)
def test_names_compare_without_case_or_normalization(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_different_names_stay_different() -> None:
    assert fold("ann") != fold("anne")
    assert fold("resume") != fold("résumé")


@pytest.mark.parametrize("name", ["server", "Server", "\u017ferver", "guest-1", "GUEST-", "gue\u017ft-x"])
def test_the_servers_name_and_guests_names_are_reserved_in_any_writing(name: str) -> None:
    assert is_reserved(fold(name))


@pytest.mark.parametrize("name", ["servers", "guest", "guests-1", "my-server"])
def test_names_beside_the_reserved_ones_are_free(name: str) -> None:
    assert not is_reserved(fold(name))


def test_a_conversation_is_named_the_same_from_both_sides_and_numbered_from_the_second() -> None:
    assert conversation_name("bob", "ann") == conversation_name("ann", "bob") == "@ann,bob"
    assert conversation_name("ann", "bob", 2) == "@ann,bob#2"


def test_no_user_or_public_room_can_have_a_conversations_name() -> None:
    with pytest.raises(ValueError, match="begins with"):
        validate_name(conversation_name("ann", "bob"))


def test_a_hundred_thousand_marks_are_refused_and_folded_without_being_put_in_order() -> None:
    # Normalizing these would sort them in quadratic time: minutes.
    hostile = "a" + "\u0301\u0323" * 200_000
    began = time.thread_time()
    with pytest.raises(ValueError, match="1 to 32"):
        validate_name(hostile)
    assert fold(fold(hostile)) == fold(hostile)
    assert time.thread_time() - began < 5


def test_the_longest_name_may_come_in_four_times_its_code_points() -> None:
    longest = "\u1f82" * MAX_NAME_CHARS  # alpha with breathing, accent and iota: four code points in NFD
    apart = unicodedata.normalize("NFD", longest)
    assert len(apart) == 4 * MAX_NAME_CHARS
    assert validate_name(apart) == longest
