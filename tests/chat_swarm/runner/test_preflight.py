"""Checks before a run: source addresses that cannot be used are named."""

import socket
from ipaddress import ip_address

import pytest

from chat_swarm.model.plan import RunPlan
from chat_swarm.runner.preflight import find_problem, find_unbindable_source

ELSEWHERE = "203.0.113.7"
"""Of TEST-NET-3 (RFC 5737): no machine has it."""


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ([], ""),
        (["127.0.0.1"], ""),
        (["127.0.0.1", "127.8.9.10"], ""),
        ([ELSEWHERE], ELSEWHERE),
        (["127.0.0.1", ELSEWHERE, "127.0.0.2"], ELSEWHERE),
        (["127.0.0.1", "2001:db8::7"], "2001:db8::7"),
    ],
)
def test_unbindable_source_address_is_named(sources: list[str], named: str) -> None:
    said = find_unbindable_source(RunPlan(source_addresses=tuple(ip_address(one) for one in sources)))
    assert named in said
    assert bool(said) is bool(named)
    assert "\n" not in said


def test_source_address_with_a_used_port_is_bindable() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert find_unbindable_source(RunPlan(source_addresses=(ip_address("127.0.0.1"),))) == ""


def test_source_address_of_another_family_is_refused() -> None:
    said = find_problem(RunPlan(host="127.0.0.1", source_addresses=(ip_address("::1"),)))
    assert said == ("--source-addresses: 127.0.0.1 cannot be reached from ::1: use the same IP version")
