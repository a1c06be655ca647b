# ruff: noqa: RUF001  characters that look alike are what this file is about
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol import names
from chat_server.core.names import scripts
from chat_server.core.names.scripts import mixing_problem


@pytest.mark.parametrize(
    "name",
    [
        "ann",
        "zoë",
        "Ærø",
        "Олег",
        "Ђорђе42",
        "Ελένη",
        "שרה-כהן",
        "משה7",
        "نور",
        "فارسی۱۲۳",
        "عربي١٢٣",
        "हिन्दी९",
        "สมชาย",
        "தமிழ்",
        "ქართული",
        "Հայկ",
        "አማርኛ",
        "ᏣᎳᎩ",
        "中文",
        "日本語テスト",
        "ひらがなカタカナ漢字",
        "スーパー",
        "Tanaka田中たろう",
        "한국어",
        "김abc",
        "한국韓國",
        "Kim김韓",
        "ㄅㄆㄇ中文abc",
        "ｆｕｌｌｗｉｄｔｈ",
        "é.è_ê-1",
    ],
)
def test_scripts_single_or_latin_with_east_asian_may_be_mixed(name: str) -> None:
    assert names.validate_name(name)
    assert mixing_problem(name) is None


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        ("pаul", "Latin and Cyrillic"),
        ("ВоB", "Cyrillic and Latin"),
        ("αlpha", "Greek and Latin"),
        ("Κатя", "Greek and Cyrillic"),
        ("annית", "Latin and Hebrew"),
        ("abcไทย", "Latin and Thai"),
        ("ann_हिन", "Latin and Devanagari"),
        ("Հapp", "Armenian and Latin"),
        ("Ꭺnn", "Cherokee and Latin"),
        ("пан김", "Cyrillic and Hangul"),
        ("かな한", "Hiragana and Hangul"),
        ("ㄅかな", "Bopomofo and Hiragana"),
        ("abcㄅ한", "Latin and Bopomofo and Hangul"),
        ("Миру中文", "Cyrillic and Han"),
    ],
)
def test_scripts_of_other_mixtures_are_named(name: str, scripts: str) -> None:
    assert names.validate_name(name)
    assert mixing_problem(name) == f"a name cannot mix {scripts} letters, which can look alike"


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        ("ann٣", "Latin and Arabic"),
        ("annً", "Latin and Arabic"),
        ("олегー", "Cyrillic and Hiragana"),
        ("\u05e9\u064b\u05d1", "Hebrew and Arabic"),
    ],
)
def test_shared_characters_match_their_scripts_only(name: str, scripts: str) -> None:
    # Script calls these marks and digits Common or Inherited; Script_Extensions list their scripts.
    assert names.validate_name(name)
    assert mixing_problem(name) == f"a name cannot mix {scripts} letters, which can look alike"


@pytest.mark.parametrize("name", ["عربي1٣", "عربي۱٣", "हिन्दी1९", "𝟏1", "ａ１1"])
def test_digits_of_several_scripts_are_rejected(name: str) -> None:
    assert names.validate_name(name)
    assert mixing_problem(name) == "a name cannot mix digits of several scripts, which can look alike"


@given(st.text(string.ascii_letters + string.digits + "._-"))
def test_ascii_names_are_never_mixed(name: str) -> None:
    assert mixing_problem(name) is None


@given(st.text(st.characters(categories=("L", "M", "Nd")), min_size=1, max_size=32))
def test_mixing_problem_of_any_name_is_a_sentence_or_none(name: str) -> None:
    sentence = mixing_problem(name)
    assert sentence is None or sentence.startswith("a name cannot mix ")
    assert (mixing_problem(name[::-1]) is None) == (sentence is None)


def test_preload_reads_the_properties_once() -> None:
    scripts.preload()
    assert scripts._extensions() is scripts._extensions()
