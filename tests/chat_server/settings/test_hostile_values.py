"""Values and files that no user means: each is read, or refused in a sentence."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from chat_server.settings.load import Config, ConfigError, flag, gather, load, variable
from chat_server.settings.table import SETTINGS

NO_ENVIRONMENT: Mapping[str, str] = {}


@pytest.fixture(autouse=True)
def _no_settings_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def escaped(text: str) -> str:
    """Return `text` as a TOML string."""
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text) + '"'


def refusal(argv: list[str], environ: Mapping[str, str] = NO_ENVIRONMENT) -> str | None:
    """Return the sentence with which settings are refused; None if they are not."""
    try:
        gather(argv, environ)
    except ConfigError as error:
        return str(error)
    return None


HOSTILE = [
    "",
    " ",
    "1 ",
    "+1",
    "-1",
    "1_000",
    "0x10",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "-inf",
    "infinity",
    "9" * 30,
    "9" * 5000,
    "1" + "0" * 400 + ".5",
    "0." + "0" * 400 + "1",
    "\u0661\u0662",  # digits of another script
    "\uff11",
    "\xb2",
    "true\0",
    "\ufeff1",
    "\udce9",  # a byte that is not UTF-8
    "~",
    "~nobody-of-that-name/x",
    "x" * 70_000,
    "a..b",
    "\x1b]0;x\x07",
]


@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_value_is_read_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    refused = 0
    for text in HOSTILE:
        path = tmp_path / "hostile.toml"
        with suppress(UnicodeEncodeError):
            path.write_text(f"{name} = {escaped(text)}", encoding="utf-8")
        for argv, environ in (
            ([f"{flag(name)}={text}"], NO_ENVIRONMENT),
            ([], {variable(name): text}),
            (["--config", str(path)], NO_ENVIRONMENT),
        ):
            sentence = refusal(argv, environ)
            if sentence is not None:
                refused += 1
                assert 0 < len(sentence) < 1000
                assert "\n" not in sentence
    assert refused


@pytest.mark.parametrize(
    "value", ["1e400", "-1e400", "nan", "1" + "0" * 400, "-" + "9" * 400, "[[1]]", "1.5"]
)
@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_number_in_a_file_is_refused_in_a_sentence(name: str, value: str, tmp_path: Path) -> None:
    path = toml(tmp_path, f"{name} = {value}")
    sentence = refusal(["--config", path])
    if (value, type(getattr(Config(), name))) == ("1.5", float):
        assert sentence is None
    else:
        assert sentence is not None
        assert "must be" in sentence


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff", "the byte 0xFF in line 1 is not UTF-8"),
        (b'port = 1\nnode = "caf\xe9"', "the byte 0xE9 in line 2 is not UTF-8"),
        ("port = 1".encode("utf-16"), "UTF-16"),
        ("port = 1".encode("utf-16-le"), "UTF-16"),
        (b"#" * (2**20 + 1), "larger than 1048576 bytes"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"port = " + b"1" * 5000, "limit"),
    ],
    ids=["0xFF", "Latin-1", "UTF-16", "UTF-16 without a mark", "large", "nested", "long number"],
)
def test_file_that_is_no_text_is_an_error(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(data)
    sentence = refusal(["--config", str(path)])
    assert sentence is not None
    assert words in sentence


def test_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xef\xbb\xbfport = 9\r\n")
    assert load(["--config", str(path)], NO_ENVIRONMENT).port == 9
