"""Checks before a run: what cannot be used is named, with the way out."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from chat_swarm.bots import local_ports
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


@pytest.fixture
def few_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty local ports, as by `sysctl net.ipv4.ip_local_port_range="40000 40049"`."""
    setting = tmp_path / "ip_local_port_range"
    setting.write_text("40000\t40049\n")
    monkeypatch.setattr(local_ports, "_SETTING", setting)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("few_ports")
@pytest.mark.parametrize(
    ("host", "sources", "bots", "enough"),
    [
        ("127.0.0.1", [], 120, True),  # it takes as many loopback addresses as it needs
        ("127.0.0.1", ["127.0.0.1", "127.0.0.2"], 120, False),
        ("127.0.0.1", ["127.0.0.1", "127.0.0.2", "127.0.0.3"], 120, True),
        ("::1", [], 51, False),
        ("::1", [], 50, True),
    ],
)
def test_too_few_local_ports_are_named_with_their_range(
    host: str, sources: list[str], bots: int, enough: bool
) -> None:
    plan = RunPlan(host=host, source_addresses=tuple(ip_address(one) for one in sources))
    said = find_problem(plan, bots)
    assert (said == "") is enough
    if not enough:
        assert said.startswith(f"{bots} bots per process need as many local ports; ")
        assert "ip_local_port_range (40000 to 40049) has 50 local ports" in said
        assert "--source-addresses" in said


@pytest.mark.usefixtures("few_ports")
def test_loopback_addresses_share_a_small_port_range() -> None:
    assert local_ports.read_local_ports().connections_per_address == 20


def test_local_ports_are_the_default_where_they_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_ports, "_SETTING", tmp_path / "none")
    assert local_ports.read_local_ports().size == 28_232


def test_unreadable_server_log_is_refused(tmp_path: Path) -> None:
    assert "--server-log" in find_problem(RunPlan(server_log=tmp_path / "none.log"))
    assert "is not a file" in find_problem(RunPlan(server_log=Path("/dev/null")))
    (tmp_path / "server.log").touch()
    assert find_problem(RunPlan(server_log=tmp_path / "server.log", report=tmp_path / "r")) == ""
