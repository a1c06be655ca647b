"""What commands are charged beside their first token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.two_field import TWO_FIELD
from chat_protocol.errors import ErrorCode, Fault
from chat_server.core.base.limits import Limits
from chat_server.core.commands.charges import (
    ANSWER_BYTES_PER_TOKEN,
    DESCRIBED_PER_TOKEN,
    EXAMINED_PER_TOKEN,
    FAULT_BYTES,
    MEMBERS_PER_TOKEN,
    PEERS_PER_TOKEN,
    REFS_PER_TOKEN,
    RESUMED_PER_TOKEN,
    STORED_PAGE_TOKENS,
    UNCOUNTED_BYTES,
)
from support.core_stage.moves import cut, hello_again

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

MANY = Limits(rate_messages=10_000, rate_messages_burst=1_000_000, rate_bytes=10**9, rate_bytes_burst=10**9)


@pytest.fixture
def stage(make_stage: type[Stage]) -> Stage:
    return make_stage(limits=MANY)


def new_peer(stage: Stage) -> Peer:
    """Return a peer that has an allowance and no name yet."""
    peer = stage.connect()
    peer.execute(commands.Ping())
    return peer


def cost(peer: Peer, command: commands.Command | Fault) -> float:
    """Return the tokens that a command is charged, its first one too."""
    before = tokens(peer)
    peer.execute(command)
    return before - tokens(peer)


def tokens(peer: Peer) -> float:
    allowance = peer.session.allowance
    assert allowance is not None
    assert allowance.messages is not None
    return allowance.messages.tokens


def byte_cost(peer: Peer, command: commands.Command | Fault) -> float:
    peer.stage.router.record_input(peer.session, 0)
    allowance = peer.session.allowance
    assert allowance is not None
    assert allowance.bytes is not None
    before = allowance.bytes.tokens
    peer.execute(command)
    return before - allowance.bytes.tokens


@pytest.mark.parametrize(
    "command",
    [
        commands.Message(message="hi"),
        commands.Join(room="kitchen"),
        commands.Leave(room="lobby"),
        commands.Open(peer="bob"),
        commands.Close(peer="zoe"),
        commands.Help(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_ordinary_command_costs_one_token(stage: Stage, command: commands.Command) -> None:
    ann, _ = stage.enter("ann"), stage.enter("bob")
    assert cost(ann, command) == 1


@pytest.mark.parametrize(
    "command",
    [commands.Rooms(), commands.Servers(), commands.Rtt(), commands.History(room="lobby")],
    ids=lambda command: type(command).__name__,
)
def test_answer_costs_its_bytes(stage: Stage, command: commands.Command) -> None:
    ann = stage.enter("ann")
    for number in range(30):
        stage.enter(f"one{number}", f"room{number}")
        ann.send_message("some text")
    stage.commit()
    before = len(ann.outbox.data)
    paid = cost(ann, command)
    assert paid == pytest.approx(1 + (len(ann.outbox.data) - before) / ANSWER_BYTES_PER_TOKEN)


def test_user_list_costs_its_bytes_and_those_it_passes_over(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(500):
        stage.enter(f"one{number}" + "x" * 20, *(["den"] if number < 450 else []))
    before = len(ann.outbox.data)
    paid = cost(ann, commands.Who())
    answer = (len(ann.outbox.data) - before) / ANSWER_BYTES_PER_TOKEN
    assert answer > 1.7
    assert paid == pytest.approx(1 + answer + 101 / EXAMINED_PER_TOKEN + 100 / DESCRIBED_PER_TOKEN)


def test_page_of_the_store_costs_more_than_one_of_the_tail(stage: Stage) -> None:
    ann = stage.enter("ann")
    for _ in range(600):
        ann.send_message("text")
    stage.commit()
    tail = cost(ann, commands.History(room="lobby"))
    stored = cost(ann, commands.History(room="lobby", before=100))
    assert stored == pytest.approx(tail + STORED_PAGE_TOKENS, abs=0.5)


@pytest.mark.parametrize("name", ["ann", "no good", "taken"])
def test_hello_costs_its_rooms_whether_it_succeeds_or_not(stage: Stage, name: str) -> None:
    stage.enter("taken")
    peer = new_peer(stage)
    assert (
        cost(peer, commands.Hello(username=name, rooms=[f"r{number}" for number in range(100)])) == 1 + 99 * 2
    )
    assert cost(new_peer(stage), commands.Hello(username="zoe")) == 1


def test_first_hello_is_accepted_whatever_it_costs(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=1, rate_messages_burst=1))
    peer = stage.connect()
    peer.execute(commands.Hello(username="ann", rooms=[f"r{number}" for number in range(100)]))
    assert [frame["type"] for frame in peer.receive()] == ["welcome"]
    peer.execute(commands.Help())
    assert peer.receive_one("error")["retry_after"] == 199  # its rooms, and one for this command


def test_resume_costs_the_rooms_it_names(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    peer = new_peer(stage)
    allowance = peer.session.allowance
    assert allowance is not None
    assert allowance.messages is not None
    before = allowance.messages.tokens
    rooms = {f"r{number}": 0 for number in range(60)} | {f"@a{number},b": 0 for number in range(160)}
    peer.execute(hello_again(ann, **rooms))
    assert before - allowance.messages.tokens == 1 + 59 * 2 + 160 / 8


def test_resume_costs_the_conversations_it_brings_back_and_the_refs_it_reads(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    for number in range(40):
        stage.enter(f"one{number}")
        ann.send_message("hi", to=f"one{number}", ref=str(number))
    stage.commit()
    ann.receive()
    cut(ann)
    peer = new_peer(stage)
    before = tokens(peer)
    allowance = peer.session.allowance
    assert allowance is not None
    assert allowance.messages is not None
    peer.execute(hello_again(ann))
    assert before - allowance.messages.tokens == pytest.approx(
        1 + 40 / RESUMED_PER_TOKEN + STORED_PAGE_TOKENS + 40 / REFS_PER_TOKEN
    )


def test_message_to_many_members_costs_the_address_what_it_takes(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=MANY)
    ann = stage.connect()
    ann.link.address_key = "192.0.2.1"
    ann.execute(commands.Hello(username="ann"))
    for number in range(MEMBERS_PER_TOKEN - 1):
        stage.enter(f"one{number}")

    def costs() -> tuple[float, float]:
        allowance = ann.session.allowance
        assert allowance is not None
        assert allowance.address is not None
        assert allowance.address.messages is not None
        before = allowance.address.messages.tokens
        own = cost(ann, commands.Message(message="hi"))
        return own, before - allowance.address.messages.tokens

    assert costs() == (1, 1)
    for number in range(MEMBERS_PER_TOKEN * 2):
        stage.enter(f"more{number}")
    assert costs() == (1, 3)


def test_resume_looks_at_as_many_public_rooms_as_there_may_be(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    back = stage.connect()
    rooms = {f"not a name {number}": 0 for number in range(40)} | {f"r{number}": 0 for number in range(100)}
    back.execute(hello_again(ann, **rooms))
    welcome = back.receive()[0]
    assert [state["room"] for state in welcome["rooms"]] == [f"r{number}" for number in range(60)]


def test_rename_costs_its_peers(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(80):
        stage.enter(f"one{number}")
    assert cost(ann, commands.Rename(username="anna")) == 1 + 80 / PEERS_PER_TOKEN
    assert cost(ann, commands.Rename(username="anna")) == 1  # nobody needs to know
    pat = stage.enter("pat", encoding=TWO_FIELD)
    assert cost(pat, commands.Say(username="patty", message="")) == 1 + 81 / PEERS_PER_TOKEN


def test_pings_and_unasked_pongs_cost_bytes(stage: Stage) -> None:
    ann = stage.enter("ann")
    assert byte_cost(ann, commands.Ping()) == UNCOUNTED_BYTES
    assert byte_cost(ann, commands.Pong(id="unasked")) == UNCOUNTED_BYTES
    stage.clock.advance(31)
    stage.hub.heartbeat.tick()
    assert ann.session.ping_id
    assert byte_cost(ann, commands.Pong(id=ann.session.ping_id)) == 0


def test_faults_cost_bytes_and_no_tokens(stage: Stage) -> None:
    ann = stage.enter("ann")
    fault = Fault(ErrorCode.BAD_FRAME, "no")
    assert byte_cost(ann, fault) == FAULT_BYTES
    assert cost(ann, fault) == 0


def test_refused_for_the_rate_is_no_flood(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=100, rate_messages_burst=10))
    ann = stage.enter("ann")
    for number in range(1100):
        ann.send_message(ref=str(number))
    assert ann.link.ended is None
    for number in range(1100):
        ann.send_message(ref=str(number))
    assert ann.link.ended == "flooding"
