"""What the sessions of one address may do together."""

from __future__ import annotations

import gc
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest

from chat_protocol import commands
from chat_server.core.base import address_allowances
from chat_server.core.base.address_allowances import AddressAllowances
from chat_server.core.base.limits import Limits
from chat_server.core.base.rate_limit import (
    MAX_ADDRESS_DEBT_S,
    MAX_ADDRESS_WAIT_S,
    AddressAllowance,
    Allowance,
)
from support.core_stage.moves import cut, hello_again

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

LIMITS = Limits(rate_messages=10, rate_messages_burst=20, rate_bytes=1000, rate_bytes_burst=2000)


def connect(stage: Stage, address: str) -> Peer:
    peer = stage.connect()
    peer.link.address_key = address
    return peer


def enter(stage: Stage, address: str, name: str, *, resumable: bool = False) -> Peer:
    peer = connect(stage, address)
    peer.execute(commands.Hello(username=name, resumable=resumable))
    assert peer.receive()[0]["type"] == "welcome"
    peer.outbox.acked = len(peer.outbox.data)
    return peer


def accepted(peer: Peer, count: int) -> int:
    """Return how many of so many pieces of work the peer may do now."""
    for _ in range(count):
        peer.execute(commands.Help())
    codes = [frame.get("code") for frame in peer.receive()]
    assert set(codes) <= {None, "rate_limited"}
    return count - codes.count("rate_limited")


def test_new_connections_bring_no_new_allowance(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=LIMITS)
    done = []
    for number in range(8):
        eve = enter(stage, "192.0.2.1", f"eve{number}")
        done.append(accepted(eve, 19))  # a burst, less the hello
        eve.disconnect(for_good=True)
    assert done == [19, 19, 19, 19, 0, 0, 0, 0]  # four times what a session may do
    assert accepted(enter(stage, "192.0.2.2", "ann"), 19) == 19
    assert accepted(enter(stage, "", "local"), 19) == 19


def test_address_that_waits_goes_on_at_its_rate(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=LIMITS)
    peers = [enter(stage, "192.0.2.1", f"eve{number}") for number in range(8)]
    for peer in peers:
        accepted(peer, 19)
    stage.clock.advance(MAX_ADDRESS_DEBT_S)
    before = stage.clock.now
    total = 0
    for _ in range(100):
        stage.clock.advance(0.1)
        total += sum(accepted(peer, 1) for peer in peers)
    rated = 40 * (stage.clock.now - before)
    assert rated <= total <= 80 + rated + 80  # what is saved up, and a burst for those that have waited


def test_hello_has_a_burst_of_its_address_more(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=LIMITS)
    for number in range(4):
        accepted(enter(stage, "192.0.2.1", f"eve{number}"), 19)
    ann = enter(stage, "192.0.2.1", "ann")  # a neighbour comes in all the same
    assert accepted(ann, 1) == 0


def test_debt_of_an_address_is_bounded() -> None:
    address = AddressAllowance(LIMITS, 0.0)
    assert address.charge_bytes(10**9, 0.0) == MAX_ADDRESS_DEBT_S
    address.charge(10**9, 0.0)
    waits = [address.seconds_to_token(0.0, waited=False) for _ in range(2000)]
    assert waits[0] == pytest.approx(MAX_ADDRESS_DEBT_S + 1 / 40)
    assert max(waits) == MAX_ADDRESS_WAIT_S


def test_peers_of_an_address_are_read_again_at_different_times() -> None:
    address = AddressAllowance(LIMITS, 0.0)
    waits = sorted(address.charge_bytes(10**9, 0.0) for _ in range(1000))
    assert waits[0] == MAX_ADDRESS_DEBT_S
    assert waits[-1] < 2 * MAX_ADDRESS_DEBT_S
    assert max(later - earlier for earlier, later in pairwise(waits)) < 3 * MAX_ADDRESS_DEBT_S / 1000


def test_commands_of_an_address_get_times_one_after_the_other() -> None:
    address = AddressAllowance(LIMITS, 0.0)
    one, other = Allowance(LIMITS, 0.0, address), Allowance(LIMITS, 0.0, address)
    address.charge(80, 0.0)
    waits = [allowance.take(0.0, counted=True) for allowance in (one, other) * 3]
    assert waits == sorted(set(waits))
    for allowance, wait in zip((one, other) * 3, waits, strict=True):
        assert allowance.take(wait, counted=True) == 0


def test_bytes_of_an_address_leave_all_its_sessions_unread(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=LIMITS)
    one, other = enter(stage, "192.0.2.1", "one"), enter(stage, "192.0.2.1", "other")
    for _ in range(4):
        stage.router.record_input(one.session, 2000)
    assert stage.router.record_input(other.session, 1) == 0
    assert stage.router.record_input(other.session, 2001) == pytest.approx(2002 / 4000)
    assert stage.router.record_input(enter(stage, "192.0.2.2", "ann").session, 1) == 0


def test_resumed_session_counts_for_the_address_it_comes_from(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=LIMITS)
    ann = enter(stage, "192.0.2.1", "ann", resumable=True)
    allowance = ann.session.allowance
    cut(ann)
    back = connect(stage, "192.0.2.2")
    back.execute(hello_again(ann))
    assert back.session.allowance is allowance
    assert allowance is not None
    assert allowance.address is stage.hub.address_allowances.get(
        "192.0.2.2", stage.hub.limits, stage.clock.now
    )


def test_factor_of_zero_is_no_limit(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=msgspec.structs.replace(LIMITS, rate_address_factor=0))
    assert sum(accepted(enter(stage, "192.0.2.1", f"eve{number}"), 19) for number in range(8)) == 8 * 19


def test_limits_reloaded_begin_with_full_buckets(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=LIMITS)
    peers = [enter(stage, "192.0.2.1", f"eve{number}") for number in range(5)]
    for peer in peers:
        accepted(peer, 19)
    stage.hub.limits = msgspec.structs.replace(LIMITS)
    assert [accepted(peer, 21) for peer in peers] == [20, 20, 20, 20, 0]


def test_addresses_are_forgotten_once_they_are_full_and_have_no_session() -> None:
    known = AddressAllowances()
    limits = Limits()
    held = known.get("192.0.2.0", limits, 0.0)
    for number in range(1, 100):
        known.get(f"192.0.2.{number}", limits, 0.0)
    gc.collect()
    assert len(known) == 2  # of those without a session only the last
    assert known.get("192.0.2.0", limits, 0.0) is held
    assert known.get("", limits, 0.0) is None


def test_addresses_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_allowances, "MAX_RECENT_ADDRESSES", 50)
    known = AddressAllowances()
    limits = Limits()
    first = known.get("first", limits, 0.0)
    assert first is not None
    first.charge(10, 0.0)
    for number in range(200):
        used = known.get(str(number), limits, 0.0)
        assert used is not None
        used.charge(10, 0.0)
        assert len(known) <= 52
    assert known.get("first", limits, 0.0) is first  # it has a session


def test_first_hellos_of_an_address_are_bounded_by_what_they_cost(make_stage: type[Stage]) -> None:
    # Given limits as by default, of which the maximum debt is less than a burst
    stage = make_stage(limits=Limits(rate_messages=100, rate_messages_burst=1000))
    welcomed = 0
    for number in range(200):
        peer = connect(stage, "192.0.2.1")
        rooms = [f"r{room}" for room in range(60)]
        peer.execute(commands.Hello(username=f"eve{number}", rooms=rooms))
        welcomed += peer.receive()[0]["type"] == "welcome"
        peer.disconnect()
    # Then there are as many as the burst is worth, and half of the maximum debt
    assert welcomed == (4 * 1000 + MAX_ADDRESS_DEBT_S * 4 * 100 / 2) // (1 + 59 * 2) + 1
