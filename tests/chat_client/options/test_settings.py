"""Settings from flags and the environment: precedence, variables of other programs, misspelt names."""

import argparse

import pytest

from chat_client.address import Address
from chat_client.options.settings import VARIABLES, Settings, add_options, gather_settings
from chat_server.settings import load
from chat_server.settings.table import SETTINGS


def settings(*argv: str, **environ: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return gather_settings(parser.parse_args(argv), environ)


def test_variables_are_used_without_flags() -> None:
    found = settings(CHAT_SERVER="a:1,b", CHAT_USERNAME="ann")
    assert found.servers == [Address("a", 1), Address("b")]
    assert (found.username, found.strict_name, found.notes) == ("ann", False, ())


@pytest.mark.parametrize("argv", [("--server", "c:3"), ("--host", "c", "--port", "3"), ("--host", "c:3")])
def test_flag_takes_precedence_and_the_variable_is_not_judged(argv: tuple[str, ...]) -> None:
    assert settings(*argv, CHAT_SERVER="no:port").servers == [Address("c", 3)]


def test_wrong_variable_is_named() -> None:
    with pytest.raises(ValueError, match=r"CHAT_SERVER: 'tcp://c:3' .* without tcp://"):
        settings(CHAT_SERVER="tcp://c:3")


def test_misspelt_variable_is_noted() -> None:
    (note,) = settings(CHAT_SERVERS="a:1").notes
    assert "CHAT_SERVER?" in note


def test_variables_of_the_server_are_none_of_the_clients() -> None:
    server = {load.variable(name): "tcp://10.0.0.1:1" for name in SETTINGS}
    assert not server.keys() & set(VARIABLES)
    assert settings(**server).notes == ()
