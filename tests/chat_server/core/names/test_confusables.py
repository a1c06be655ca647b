# ruff: noqa: RUF001  characters that look alike are what this file is about
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol import names
from chat_server.core.names.confusables import Confusables
from chat_server.core.names.skeletons import skeletons

WORDS = st.text(
    st.sampled_from("lIi10Oom-abcABCавсАВСоОіІ\u0301\u0307éÉßﬁａα漢")
    | st.characters(categories=("L", "M", "Nd"), max_codepoint=0x2FFF),
    min_size=1,
    max_size=6,
).map("n".__add__)


def taken(*shown: str) -> Confusables:
    lookalikes = Confusables()
    for name in shown:
        lookalikes.add_name(name, names.fold(name))
    return lookalikes


def holder(lookalikes: Confusables, name: str, giving_up: str = "") -> str | None:
    return lookalikes.find_confusable(name, names.fold(name), names.fold(giving_up))


ALIKE = [
    ("copa", "сора"),  # Cyrillic, all of it
    ("copa", "СОРА"),
    ("COPA", "сора"),
    ("BOB", "ВОВ"),
    ("bob", "ВОВ"),  # shown in capitals, and names compare without case
    ("BOB", "вов"),
    ("her", "Нег"),  # neither its small letters nor its capitals, but as it is written
    ("ica", "ІСА"),
    ("ICA", "іса"),
    ("Toma", "ТОМА"),
    ("AXE", "ΑΧΕ"),  # Greek
    ("ovo", "ονο"),
    ("scope", "ѕсоре"),
    ("anna", "ａｎｎａ"),  # fullwidth
    ("BoB42", "ＢＯＢ４２"),
    ("bob", "𝐛𝐨𝐛"),  # mathematical
    ("bob", "𝖇𝖔𝖇"),
    ("Zoe1", "𝒁𝒐𝒆𝟏"),
    ("rnorn", "ｍｏｍ"),
    ("mom", "ｒｎｏｒｎ"),
    ("c00l", "ＣＯＯＬ"),
    ("paulI", "ｐａｕｌ１"),
    ("عربي١٢٣", "عربي۱۲۳"),  # Arabic and Persian digits
    ("été", "éte\u0301\u0301"),  # a mark upon the same mark
    ("zoë", "ｚｏë"),
    ("ian", "i\u0307an"),  # a dot upon the dot
    ("IAN", "İan"),
    ("a\u0301\u0300\u0302\u0303", "a\u0301\u0300\u0302\u0303\u0308"),  # nobody counts to five
    ("søs", "so\u0338s"),
    ("工", "エ"),  # Han, Katakana
    ("口口", "ロロ"),
    ("ハ", "八"),
    ("שרה", "שר\ufb23"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_confusable_name_is_found(one: str, other: str) -> None:
    assert holder(taken(one), other) == one
    assert holder(taken(other), one) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paul1", "paull"),
        ("Ian", "lan"),
        ("modern", "rnodern"),
        ("o0o", "ooo"),
        ("anna", "анна"),
        ("anna", "änna"),
        ("zoe", "zoë"),
        ("bob", "боб"),
        ("ivan", "иван"),
        ("Ольга", "Олег"),
        ("été", "étè"),
        ("日本", "日木"),
        ("한국", "한글"),
        ("שרה", "שרי"),
        ("ไทย", "ไทม"),
        ("عربي١٢٣", "عربي١٢٤"),
        ("nora", "vóra"),
    ],
)
def test_distinguishable_name_is_not_found(one: str, other: str) -> None:
    assert holder(taken(one), other) is None
    assert holder(taken(other), one) is None


def test_ascii_names_never_collide_with_each_other() -> None:
    lookalikes = taken("paul1", "зина", "ｐａｕｌ２")
    assert holder(lookalikes, "paull") is None
    lookalikes.add_name("paull", "paull")
    assert holder(lookalikes, "pauI1") is None
    assert holder(lookalikes, "paul2") == "ｐａｕｌ２"


def test_confusable_is_found_among_several_with_one_skeleton() -> None:
    # Given three ASCII names that one Cyrillic name looks like
    lookalikes = taken("paul1", "PaulI", "paull")
    # When they leave one after the other
    met = []
    for key in ("paul1", "pauli", "paull"):
        met.append(holder(lookalikes, "ｐａｕｌ１"))
        lookalikes.remove_name(key)
    # Then the newcomer is refused until the last has left
    assert met == ["paul1", "PaulI", "paull"]
    assert holder(lookalikes, "ｐａｕｌ１") is None


def test_same_name_in_another_case_is_not_confusable() -> None:
    assert holder(taken("Bob"), "BOB") is None
    assert holder(taken("Олег"), "ОЛЕГ") is None


def test_name_may_be_replaced_by_a_confusable_one() -> None:
    assert holder(taken("Copa"), "сора", giving_up="copa") is None
    assert holder(taken("сора"), "copa", giving_up="сора") is None
    assert holder(taken("Copa", "c0pa"), "сора", giving_up="copa") == "c0pa"


def test_removed_name_is_free() -> None:
    for name, alike in (("copa", "сора"), ("сора", "copa")):
        lookalikes = taken(name)
        lookalikes.remove_name(name)
        assert holder(lookalikes, alike) is None


def test_removing_an_unknown_name_raises() -> None:
    for key in ("ann", "анна"):
        with pytest.raises(KeyError):
            Confusables().remove_name(key)


@given(st.lists(WORDS, max_size=12, unique_by=names.fold), st.randoms(use_true_random=False))
def test_adding_and_removing_all_leaves_no_state(written: list[str], order: Random) -> None:
    lookalikes = taken(*written)
    order.shuffle(written)
    for name in written:
        lookalikes.remove_name(names.fold(name))
    assert not lookalikes._ascii
    assert not lookalikes._non_ascii
    assert not lookalikes._skeletons


@given(st.lists(WORDS, max_size=8, unique_by=names.fold), WORDS)
def test_confusable_is_found_if_and_only_if_a_skeleton_is_shared(written: list[str], newcomer: str) -> None:
    key = names.fold(newcomer)
    mine = set(skeletons(newcomer, key))
    alike = {
        name
        for name in written
        if names.fold(name) != key
        and mine & set(skeletons(name, names.fold(name)))
        and not (name.isascii() and newcomer.isascii())
    }
    met = holder(taken(*written), newcomer)
    assert met in alike if alike else met is None
