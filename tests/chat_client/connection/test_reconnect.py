"""Coming back, against a server that does what the test says and nothing else."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from chat_client import Back, Client, ConnectionLost, Lost
from chat_client.base.backoff import Backoff
from chat_client.errors import Refused
from chat_protocol.commands import Message, Quit, Rename, Resume
from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.events import (
    Bye,
    Closed,
    Error,
    Event,
    Gap,
    Joined,
    Limits,
    MessageEvent,
    Opened,
    Renamed,
    RoomState,
    Welcome,
)
from support.fakes.fake_server import ScriptedServer, said, welcome

Kind = TypeVar("Kind", bound=Event)
FIRST = welcome(RoomState("lobby", 10, 2))
AGAIN = welcome(RoomState("lobby", 12, 2), resumed=True)
"""Two messages were seen in the meantime."""

Scripted = Callable[..., ScriptedServer]


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Callable[..., Client]:
    def start(server: ScriptedServer, **more: Any) -> Client:
        quick = Backoff(0.001, 0.002)
        more = {"reconnect": True, "backoff": quick, "ping_every": 0, "timeout": 30, **more}
        client = Client("ann", server.address, **more)
        request.addfinalizer(client.close)
        client.connect()
        return client

    return start


def until(client: Client, kind: type[Kind]) -> Kind:
    while True:
        event = client.next_event(30)
        if isinstance(event, kind):
            return event


def seqs_until_back(client: Client) -> tuple[list[int], Back]:
    seqs = []
    while not isinstance(event := client.next_event(30), Back):
        if isinstance(event, MessageEvent):
            seqs.append(event.seq)
    return seqs, event


def seen_two(server: ScriptedServer, client: Client, head: int = 12) -> None:
    """Let the first connection bring 11 and 12, then break; the log goes on up to `head`."""
    first = server.connection()
    server.log += [said(seq) for seq in range(1, head + 1)]
    first.send(said(11), said(12))
    while until(client, MessageEvent).seq < 12:
        pass
    first.cut()


def test_the_session_is_resumed_where_it_stood_and_nothing_is_told_twice(
    scripted: Scripted, connect: Any
) -> None:
    server = scripted(FIRST, AGAIN)
    client = connect(server)
    seen_two(server, client, head=15)
    second = server.connection()
    assert second.hello.resume == Resume(session="secret", epoch="e", rooms={"lobby": 12})
    second.send(*(said(seq) for seq in range(11, 16)))
    seqs, back = seqs_until_back(client)
    assert seqs == [13, 14, 15]
    assert (back.caught_up, back.resumed, back.seconds > 0) == (3, True, True)
    second.send(said(15), said(16))
    assert until(client, MessageEvent).seq == 16


def test_back_comes_at_once_when_nothing_was_missed(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST, AGAIN, welcome(resumed=True))
    client = connect(server)
    seen_two(server, client)
    assert seqs_until_back(client)[1].caught_up == 0
    server.connection().cut()
    assert seqs_until_back(client)[1].caught_up == 0  # in no room there is nothing to ask


def test_the_catch_up_waits_for_every_room(scripted: Scripted, connect: Any) -> None:
    rooms = RoomState("lobby", 10, 1), RoomState("dev", 0, 1), RoomState("left", 0, 1)
    server = scripted(welcome(*rooms), welcome(*rooms, resumed=True))
    client = connect(server)
    server.log += [*(said(seq) for seq in range(1, 12)), said(1, "dev"), said(2, "dev"), said(1, "left")]
    server.connection().cut()
    second = server.connection()
    second.send(said(11), said(1, "dev"), said(2, "dev"))
    for _ in range(3):
        until(client, MessageEvent)
    second.send(Closed(room="left", peer="bob", by="bob"))  # what can come no more is not waited for
    assert seqs_until_back(client)[1].caught_up == 3


def test_a_gap_is_told_and_is_not_waited_for(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST, AGAIN, AGAIN)
    client = connect(server)
    seen_two(server, client, head=81)
    second = server.connection()
    second.send(Gap(room="lobby", first=13, last=80), said(80), said(81))
    assert until(client, Gap).last == 80
    seqs, back = seqs_until_back(client)
    assert (seqs, back.caught_up) == ([81], 1)
    second.cut()
    assert server.connection().hello.resume == Resume(session="secret", epoch="e", rooms={"lobby": 81})


def test_what_was_not_acknowledged_goes_again_in_order_and_counts_once(
    scripted: Scripted, connect: Any
) -> None:
    # Given three messages under way, of which the server has stored the first two, when the connection breaks
    server = scripted(FIRST, AGAIN)
    client = connect(server)
    pending = [client.send(text) for text in ("one", "two", "three")]
    first = server.connection()
    refs = [first.next(Message).ref for _ in pending]
    first.cut()
    # When they go again, and a fourth behind them
    second = server.connection()
    pending.append(client.send("four"))
    again = [second.next(Message) for _ in pending]
    assert [message.message for message in again] == ["one", "two", "three", "four"]
    assert [message.ref for message in again][:3] == refs
    refs = [message.ref for message in again]
    # Then the echo in the stream and the answer `again` may come in any order: each is told once
    own = [said(seq, sender="me", ref=ref) for seq, ref in zip((13, 14, 15, 16), refs, strict=True)]
    answers = [msgspec.structs.replace(event, again=True) for event in own]
    second.send(answers[2], own[0], own[1], answers[1], own[2], own[3], said(17))
    seen = [until(client, MessageEvent) for _ in range(5)]
    assert seen == [*own, said(17)]
    assert [one.wait(0).seq for one in pending] == [13, 14, 15, 16]
    assert not client.unacknowledged


def test_what_goes_again_keeps_to_the_servers_pace_and_to_its_order(scripted: Scripted, connect: Any) -> None:
    slow = Limits(
        65536, 8192, 0, 0, messages_per_second=20, message_burst=5, bytes_per_second=0, byte_burst=0
    )
    server = scripted(FIRST, welcome(resumed=True, limits=slow))
    client = connect(server)
    first = server.connection()
    texts = [str(number) for number in range(8)]
    for text in texts:
        client.send(text)
        first.next(Message)
    first.cut()
    second = server.connection()
    until(client, Back)
    client.send("late")  # waits behind the others
    assert [second.next(Message).message for _ in range(9)] == [*texts, "late"]


def test_quitting_waits_behind_what_goes_again(scripted: Scripted, connect: Any) -> None:
    slow = Limits(
        65536, 8192, 0, 0, messages_per_second=20, message_burst=2, bytes_per_second=0, byte_burst=0
    )
    server = scripted(FIRST, welcome(resumed=True, limits=slow))
    client = connect(server)
    for _ in range(4):
        client.send("x")
    server.connection().cut()
    second = server.connection()
    until(client, Back)
    quitting = threading.Thread(target=client.quit)
    quitting.start()
    for _ in range(4):
        second.next(Message)
    second.next(Quit)
    second.send(Bye(reason=ByeReason.QUIT))
    quitting.join()
    assert not client.connected


def test_in_a_new_session_the_log_is_asked_before_anything_goes_again(
    scripted: Scripted, connect: Any
) -> None:
    # Given two messages under way, of which the server has stored one, and a session that cannot be resumed
    server = scripted(FIRST, welcome(RoomState("lobby", 600, 2), id="you", session="other"), FIRST)
    client = connect(server)
    pending = [client.send("stored"), client.send("not stored")]
    first = server.connection()
    refs = [first.next(Message).ref for _ in pending]
    server.log += [said(seq) for seq in range(11, 600)]
    server.log += [said(600, sender="me", ref=refs[0]), said(601, sender="else", ref=refs[1])]
    server.beside.append(said(601, sender="else"))
    first.cut()
    # Then only the other one goes again
    second = server.connection()
    assert second.next(Message).message == "not stored"
    assert pending[0].wait(30).seq == 600
    second.send(said(602, sender="you", ref=refs[1]))
    assert pending[1].wait(30).seq == 602
    back = until(client, Back)
    assert (back.resumed, back.caught_up) == (False, 0)
    assert [until(client, MessageEvent).seq for _ in range(2)] == [601, 602]
    second.cut()
    assert server.connection().hello.resume == Resume(session="other", epoch="e", rooms={"lobby": 602})


def test_with_another_epoch_nothing_that_was_known_counts(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST, welcome(RoomState("lobby", 1, 1), epoch="f", id="you"))
    client = connect(server)
    seen_two(server, client)
    server.connection().send(said(2))
    assert until(client, Back).resumed is False
    assert until(client, MessageEvent).seq == 2


@pytest.mark.parametrize("code", ["name_taken", "unavailable", "rate_limited"])
def test_a_refusal_that_may_pass_is_waited_out(scripted: Scripted, connect: Any, code: Any) -> None:
    refusal = Error(code=ErrorCode(code), message="not now", retry_after=0.05)
    server = scripted(FIRST, refusal, AGAIN)
    client = connect(server)
    server.connection().cut()
    until(client, Lost)
    lost = until(client, Lost)
    assert (lost.message, lost.wait >= 0.05) == ("not now", True)
    until(client, Back)


def test_a_refusal_for_good_ends_it(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST, Error(code=ErrorCode.FORBIDDEN, message="never"))
    client = connect(server)
    pending = client.send("lost?")
    server.connection().cut()
    with pytest.raises(Refused, match="never"):
        list(client)
    with pytest.raises(Refused, match="never"):
        pending.wait(0)
    assert [message.message for message in client.unacknowledged] == ["lost?"]


@pytest.mark.parametrize(
    ("reason", "sentence"), [("replaced", "another connection"), ("kicked", "asked to leave")]
)
def test_who_was_replaced_or_kicked_is_told_and_stays_away(
    scripted: Scripted, connect: Any, reason: str, sentence: str
) -> None:
    server = scripted(FIRST, AGAIN)
    client = connect(server)
    server.connection().send(Bye(reason=ByeReason(reason)))
    with pytest.raises(ConnectionLost, match=sentence) as lost:
        list(client)
    assert lost.value.bye is not None
    with pytest.raises(ConnectionLost):
        client.say("hi")


def test_closing_gives_a_resumable_session_up(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST)
    client = connect(server)
    connection = server.connection()
    client.close()
    connection.next(Quit)


def test_closing_while_it_comes_back_is_no_failure(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST, [])
    client = connect(server)
    server.connection().cut()
    second = server.connection()
    closing = threading.Thread(target=client.close)
    closing.start()
    list(client)  # from here on it is over
    second.send(AGAIN)
    closing.join()  # a reader that fails is an error of this test


def test_a_session_may_be_taken_over_by_another_client(scripted: Scripted, connect: Any) -> None:
    server = scripted(FIRST, AGAIN)
    client = connect(server)
    seen_two(server, client, head=13)
    client.close()
    resume = client.resume
    assert resume is not None
    other = connect(server, resume=resume)
    connection = server.connection()
    assert connection.hello.resume == resume
    connection.send(said(13))
    assert seqs_until_back(other) == ([13], Back(seconds=0.0, caught_up=1, resumed=True))


def test_a_name_that_was_wanted_meanwhile_is_asked_for(scripted: Scripted, connect: Any) -> None:
    refusal = Error(code=ErrorCode.UNAVAILABLE, message="not now", retry_after=0.05)
    server = scripted(FIRST, refusal, AGAIN)
    client = connect(server)
    server.connection().cut()
    while until(client, Lost).message != "not now":
        pass
    client.rename("anna")
    server.connection()
    connection = server.connection()
    assert connection.next(Rename).username == "anna"
    connection.send(Renamed(sender="me", old="ann", username="anna"))
    until(client, Renamed)
    assert client.username == "anna"


def test_rooms_that_were_joined_left_and_opened_are_part_of_the_resume(
    scripted: Scripted, connect: Any
) -> None:
    server = scripted(FIRST, AGAIN)
    client = connect(server)
    first = server.connection()
    first.send(Joined(room="Dev", seq=7, count=1), said(8, "Dev"))
    first.send(Opened(room="@ann,bob", peer="bob", by="bob", seq=3), said(4, "@ann,bob"))
    first.send(Opened(room="@ann,bob", peer="bob", by="bob", seq=3))  # told again
    for _ in range(2):
        until(client, MessageEvent)
    until(client, Opened)
    first.cut()
    second = server.connection()
    rooms = {"lobby": 10, "Dev": 8, "@ann,bob": 4}
    assert second.hello.resume == Resume(session="secret", epoch="e", rooms=rooms)
    assert second.hello.rooms == ["lobby", "Dev"]


def test_a_list_of_rooms_that_was_too_long_for_its_frame_forgets_none(
    scripted: Scripted, connect: Any
) -> None:
    rooms = RoomState("lobby", 10, 1), RoomState("dev", 5, 1)
    shortened = welcome(rooms[0], resumed=True, more=True, after="lobby")
    server = scripted(welcome(*rooms), shortened)
    client = connect(server)
    server.connection().cut()
    assert isinstance(until(client, Welcome), Welcome)
    until(client, Back)
    assert sorted(client.joined_rooms) == ["dev", "lobby"]
