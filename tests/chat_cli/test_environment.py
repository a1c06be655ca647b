"""Variables of a command: service links of other programs, misspelt names, flags that take precedence."""

import pytest

from chat_cli.environment import is_service_link, read_variables

KNOWN = {"CHAT_PORT", "CHAT_HOST", "CHAT_METRICS_PORT", "CHAT_NODE", "CHAT_USERNAME"}
LINKS_OF_CHAT = {  # what `kubectl exec POD env` shows beside a Service `chat` with a named port
    "CHAT_SERVICE_HOST": "10.96.1.2",
    "CHAT_SERVICE_PORT": "7072",
    "CHAT_SERVICE_PORT_CLIENTS": "7072",
    "CHAT_PORT_7072_TCP": "tcp://10.96.1.2:7072",
    "CHAT_PORT_7072_TCP_PROTO": "tcp",
    "CHAT_PORT_7072_TCP_PORT": "7072",
    "CHAT_PORT_7072_TCP_ADDR": "10.96.1.2",
    "CHAT_SERVER_SERVICE_HOST": "10.96.1.3",
    "CHAT_SERVER_PORT": "tcp://10.96.1.3:7072",
    "CHAT_NAME": "/web/chat",
    "CHAT_ENV_PATH": "/bin",
}


def test_set_variables_are_returned_and_empty_ones_are_not() -> None:
    found = read_variables({"CHAT_PORT": "1", "CHAT_HOST": "", "HOME": "/"}, KNOWN)
    assert found == ({"CHAT_PORT": "1"}, [])


@pytest.mark.parametrize("name", LINKS_OF_CHAT)
def test_service_link_is_ignored_without_a_note(name: str) -> None:
    assert is_service_link(name, LINKS_OF_CHAT[name])
    assert read_variables({name: LINKS_OF_CHAT[name]}, KNOWN) == ({}, [])


@pytest.mark.parametrize("name", ["CHAT_PORT", "CHAT_METRICS_PORT"])
@pytest.mark.parametrize("value", ["tcp://10.96.1.2:7072", "udp://[::1]:7072", "TCP://10.0.0.1:1"])
def test_service_link_under_a_known_name_is_ignored_and_explained(name: str, value: str) -> None:
    values, (note,) = read_variables({name: value}, KNOWN)
    assert values == {}
    assert note.startswith(f"{name}={value} is ignored: Kubernetes")
    assert read_variables({name: value}, KNOWN, overridden={name}) == ({}, [])


def test_known_variable_with_a_wrong_value_is_the_readers_to_judge() -> None:
    assert read_variables({"CHAT_PORT": "seventy"}, KNOWN).values == {"CHAT_PORT": "seventy"}
    assert read_variables({"CHAT_HOST": "tcp://h"}, KNOWN).values == {"CHAT_HOST": "tcp://h"}


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("CHAT_PROT", "CHAT_PORT"),
        ("CHAT_HOSTS", "CHAT_HOST"),
        ("CHAT_USER", "CHAT_USERNAME"),
        ("CHAT_METRIC_PORT", "CHAT_METRICS_PORT"),
        ("CHAT_NAME", "CHAT_USERNAME"),
    ],
)
def test_misspelt_name_is_noted_with_the_right_one(name: str, right: str) -> None:
    values, (note,) = read_variables({name: "x"}, KNOWN)
    assert values == {}
    assert note == f"{name} is ignored: there is no such variable; did you mean {right}?"


def test_name_of_another_program_gets_no_note() -> None:
    assert read_variables({"CHAT_API_KEY": "x", "CHATTY": "1"}, KNOWN) == ({}, [])
