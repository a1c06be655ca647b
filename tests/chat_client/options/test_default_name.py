import argparse

import pytest

from chat_client.address import Address
from chat_client.options.default_name import default_username, script_names
from chat_client.options.settings import gather_settings
from chat_protocol.names import MAX_NAME_CHARS, validate_name


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("ann", "ann"),
        ("DOMAIN\\ann", "DOMAINann"),
        ("_ann", "ann"),
        ("", "user"),
        ("...", "user"),
        ("guest-1", "uest-1"),
    ],
)
def test_default_username_is_the_login_name_reduced_to_a_valid_name(
    monkeypatch: pytest.MonkeyPatch, login: str, name: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: login)
    assert default_username() == name


def test_script_names_are_valid_and_different() -> None:
    names = list(script_names("x" * MAX_NAME_CHARS))
    assert names[0] == "x" * MAX_NAME_CHARS
    assert len(set(names)) == 4
    assert [validate_name(name) for name in names] == names


def test_gather_settings_flags_take_precedence_over_the_environment() -> None:
    environ = {"CHAT_SERVER": "a:1,b", "CHAT_USERNAME": "env"}
    plain = gather_settings(argparse.Namespace(), environ)
    assert plain.servers == [Address("a", 1), Address("b", 7072)]
    assert (plain.username, plain.strict_name) == ("env", False)
    flags = gather_settings(argparse.Namespace(host="::1", port=9, username="flag", timeout=3.0), environ)
    assert flags.servers == [Address("::1", 9)]
    assert (flags.username, flags.strict_name, flags.timeout) == ("flag", True, 3.0)
    assert gather_settings(argparse.Namespace(), {}).effective_servers == [Address("localhost", 7072)]
    assert gather_settings(argparse.Namespace(port=5), {}).servers == [Address("localhost", 5)]
