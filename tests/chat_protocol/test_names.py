import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.names import (
    MAX_NAME_CHARS,
    conversation_name,
    fold,
    is_reserved,
    name_problem,
    validate_name,
)

WORDS = st.text(
    st.characters(categories=("L", "M", "Nd"))
    | st.sampled_from("ßſŉİıΐςΣᾳǰﬁ\u0301\u0323\u0345\u0307Åé각가각._-"),
    min_size=1,
    max_size=40,
)


@given(WORDS)
def test_validate_name_is_idempotent_and_keeps_the_folded_form(written: str) -> None:
    try:
        name = validate_name(written)
    except ValueError:
        return
    assert validate_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert 1 <= len(name) <= MAX_NAME_CHARS
    assert fold(name) == fold(written)


@given(WORDS)
def test_fold_is_idempotent_and_ignores_case_and_normalization(written: str) -> None:
    folded = fold(written)
    assert fold(folded) == folded
    assert fold(unicodedata.normalize("NFD", written)) == folded
    assert fold(unicodedata.normalize("NFC", written)) == folded


def test_fold_of_any_character_is_idempotent() -> None:
    for char in map(chr, range(sys.maxunicode + 1)):
        folded = fold(char)
        assert folded == char or fold(folded) == folded


@given(st.text(max_size=40))
def test_validate_name_invalid_name_raises_a_printable_sentence(written: str) -> None:
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
def test_validate_name_accepts_letters_and_digits_of_any_script(name: str) -> None:
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
def test_validate_name_rejects_spaces_signs_controls_and_invisible_characters(name: str) -> None:
    with pytest.raises(ValueError, match="a name"):
        validate_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "مـحمد",  # tatweel
        "ـا",
        "ann\u02cd",
        "\u02cdann",
        "ߒ\u07fa",
        "م\u0883",
        "م\ufe71",
        "م\ufcf2",
        "が\u3031",
        "か\u3035",
        "字\u303b",
        "가\u302e",
        "a\u0332b\u0332",
        "a\ufe20b\ufe21",
    ],
    ids=ascii,
)
def test_validate_name_rejects_characters_that_only_join(name: str) -> None:
    with pytest.raises(ValueError, match=r"only joins|begins with"):
        validate_name(name)


@pytest.mark.parametrize(
    "name",
    ["محمد", "スーパー", "佐々木", "こゝろ", "ａーｂ", "שָׁלוֹם", "a\u0331", "ꡀ", "\u02bbokina"],
    ids=ascii,
)
def test_validate_name_accepts_letters_and_marks_that_carry_sound(name: str) -> None:
    assert validate_name(name) == unicodedata.normalize("NFC", name)


def test_name_problem_is_the_sentence_of_validate_name() -> None:
    assert name_problem("ann") is None
    assert name_problem("a b") == "a name may contain letters, digits, '.', '_' and '-', not ' ' (U+0020)"
    assert name_problem("a\udce9") == (
        "a name may contain letters, digits, '.', '_' and '-', not the byte 0xE9, which is not UTF-8"
    )


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
def test_fold_equates_names_by_case_and_normalization(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_fold_distinguishes_different_names() -> None:
    assert fold("ann") != fold("anne")
    assert fold("resume") != fold("résumé")


@pytest.mark.parametrize("name", ["server", "Server", "\u017ferver", "guest-1", "GUEST-", "gue\u017ft-x"])
def test_is_reserved_for_server_and_guest_names_in_any_case(name: str) -> None:
    assert is_reserved(fold(name))


@pytest.mark.parametrize("name", ["servers", "guest", "guests-1", "my-server"])
def test_is_reserved_is_false_for_similar_names(name: str) -> None:
    assert not is_reserved(fold(name))


def test_conversation_name_is_symmetric_and_numbered_from_the_second() -> None:
    assert conversation_name("bob", "ann") == conversation_name("ann", "bob") == "@ann,bob"
    assert conversation_name("ann", "bob", 2) == "@ann,bob#2"


def test_conversation_name_is_not_a_valid_name() -> None:
    with pytest.raises(ValueError, match="begins with"):
        validate_name(conversation_name("ann", "bob"))


def test_very_long_name_is_rejected_and_folded_without_normalizing() -> None:
    # Normalizing these would sort them in quadratic time: minutes.
    hostile = "a" + "\u0301\u0323" * 200_000
    began = time.thread_time()
    with pytest.raises(ValueError, match="1 to 32"):
        validate_name(hostile)
    assert fold(fold(hostile)) == fold(hostile)
    assert time.thread_time() - began < 5


def test_validate_name_accepts_the_longest_name_in_nfd() -> None:
    longest = "\u1f82" * MAX_NAME_CHARS  # alpha with breathing, accent and iota: four code points in NFD
    apart = unicodedata.normalize("NFD", longest)
    assert len(apart) == 4 * MAX_NAME_CHARS
    assert validate_name(apart) == longest
