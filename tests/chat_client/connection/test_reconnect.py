"""Reconnecting and resuming, with a fake server."""

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
from support.fakes.fake_server import FakeServer, make_message, make_welcome

Kind = TypeVar("Kind", bound=Event)
FIRST_WELCOME = make_welcome(RoomState("lobby", 10, 2))
RESUMED_WELCOME = make_welcome(RoomState("lobby", 12, 2), resumed=True)
"""The welcome after two more messages have been received."""

Scripted = Callable[..., FakeServer]


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Callable[..., Client]:
    def start(server: FakeServer, **more: Any) -> Client:
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


def seen_two(server: FakeServer, client: Client, head: int = 12) -> None:
    """Send 11 and 12 on the first connection, then break it; the log continues to `head`."""
    first = server.next_connection()
    server.log += [make_message(seq) for seq in range(1, head + 1)]
    first.send(make_message(11), make_message(12))
    while until(client, MessageEvent).seq < 12:
        pass
    first.break_connection()


def test_reconnect_resumes_at_the_last_seq_and_delivers_each_message_once(
    fake_server: Scripted, connect: Any
) -> None:
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME)
    client = connect(server)
    seen_two(server, client, head=15)
    second = server.next_connection()
    assert second.hello.resume == Resume(session="secret", epoch="e", rooms={"lobby": 12})
    second.send(*(make_message(seq) for seq in range(11, 16)))
    seqs, back = seqs_until_back(client)
    assert seqs == [13, 14, 15]
    assert (back.caught_up, back.resumed, back.seconds > 0) == (3, True, True)
    second.send(make_message(15), make_message(16))
    assert until(client, MessageEvent).seq == 16


def test_resume_without_missed_messages_reports_back_at_once(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME, make_welcome(resumed=True))
    client = connect(server)
    seen_two(server, client)
    assert seqs_until_back(client)[1].caught_up == 0
    server.next_connection().break_connection()
    assert seqs_until_back(client)[1].caught_up == 0  # without rooms there is nothing to query


def test_resume_waits_for_every_room_before_back(fake_server: Scripted, connect: Any) -> None:
    rooms = RoomState("lobby", 10, 1), RoomState("dev", 0, 1), RoomState("left", 0, 1)
    server = fake_server(make_welcome(*rooms), make_welcome(*rooms, resumed=True))
    client = connect(server)
    server.log += [
        *(make_message(seq) for seq in range(1, 12)),
        make_message(1, "dev"),
        make_message(2, "dev"),
        make_message(1, "left"),
    ]
    server.next_connection().break_connection()
    second = server.next_connection()
    second.send(make_message(11), make_message(1, "dev"), make_message(2, "dev"))
    for _ in range(3):
        until(client, MessageEvent)
    second.send(Closed(room="left", peer="bob", by="bob"))  # a closed room is not waited for
    assert seqs_until_back(client)[1].caught_up == 3


def test_catch_up_with_a_gap_reports_it_and_does_not_wait(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME, RESUMED_WELCOME)
    client = connect(server)
    seen_two(server, client, head=81)
    second = server.next_connection()
    second.send(Gap(room="lobby", first=13, last=80), make_message(80), make_message(81))
    assert until(client, Gap).last == 80
    seqs, back = seqs_until_back(client)
    assert (seqs, back.caught_up) == ([81], 1)
    second.break_connection()
    assert server.next_connection().hello.resume == Resume(session="secret", epoch="e", rooms={"lobby": 81})


def test_unacknowledged_messages_are_resent_in_order_and_delivered_once(
    fake_server: Scripted, connect: Any
) -> None:
    # Given three unacknowledged messages, of which the server has stored two, when the connection breaks
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME)
    client = connect(server)
    pending = [client.send(text) for text in ("one", "two", "three")]
    first = server.next_connection()
    refs = [first.next_command(Message).ref for _ in pending]
    first.break_connection()
    # When they are resent, and a fourth after them
    second = server.next_connection()
    pending.append(client.send("four"))
    again = [second.next_command(Message) for _ in pending]
    assert [message.message for message in again] == ["one", "two", "three", "four"]
    assert [message.ref for message in again][:3] == refs
    refs = [message.ref for message in again]
    # Then each is one event, whichever arrives first: its echo, or the acknowledgement with `again`
    own = [make_message(seq, sender="me", ref=ref) for seq, ref in zip((13, 14, 15, 16), refs, strict=True)]
    answers = [msgspec.structs.replace(event, again=True) for event in own]
    second.send(answers[2], own[0], own[1], answers[1], own[2], own[3], make_message(17))
    seen = [until(client, MessageEvent) for _ in range(5)]
    assert seen == [*own, make_message(17)]
    assert [one.wait(0).seq for one in pending] == [13, 14, 15, 16]
    assert not client.unacknowledged


def test_resent_messages_keep_to_the_rate_limit_and_their_order(fake_server: Scripted, connect: Any) -> None:
    slow = Limits(
        65536, 8192, 0, 0, messages_per_second=20, message_burst=5, bytes_per_second=0, byte_burst=0
    )
    server = fake_server(FIRST_WELCOME, make_welcome(resumed=True, limits=slow))
    client = connect(server)
    first = server.next_connection()
    texts = [str(number) for number in range(8)]
    for text in texts:
        client.send(text)
        first.next_command(Message)
    first.break_connection()
    second = server.next_connection()
    until(client, Back)
    client.send("late")  # is queued after the others
    assert [second.next_command(Message).message for _ in range(9)] == [*texts, "late"]


def test_quit_while_resending_waits_for_all_messages(fake_server: Scripted, connect: Any) -> None:
    slow = Limits(
        65536, 8192, 0, 0, messages_per_second=20, message_burst=2, bytes_per_second=0, byte_burst=0
    )
    server = fake_server(FIRST_WELCOME, make_welcome(resumed=True, limits=slow))
    client = connect(server)
    for _ in range(4):
        client.send("x")
    server.next_connection().break_connection()
    second = server.next_connection()
    until(client, Back)
    quitting = threading.Thread(target=client.quit)
    quitting.start()
    for _ in range(4):
        second.next_command(Message)
    second.next_command(Quit)
    second.send(Bye(reason=ByeReason.QUIT))
    quitting.join()
    assert not client.connected


def test_new_session_resends_only_messages_missing_in_the_log(fake_server: Scripted, connect: Any) -> None:
    # Given two unacknowledged messages, one of them stored, and a session that cannot be resumed
    server = fake_server(
        FIRST_WELCOME, make_welcome(RoomState("lobby", 600, 2), id="you", session="other"), FIRST_WELCOME
    )
    client = connect(server)
    pending = [client.send("stored"), client.send("not stored")]
    first = server.next_connection()
    refs = [first.next_command(Message).ref for _ in pending]
    server.log += [make_message(seq) for seq in range(11, 600)]
    server.log += [make_message(600, sender="me", ref=refs[0]), make_message(601, sender="else", ref=refs[1])]
    server.before_page.append(make_message(601, sender="else"))
    first.break_connection()
    # Then only the other one is resent
    second = server.next_connection()
    assert second.next_command(Message).message == "not stored"
    assert pending[0].wait(30).seq == 600
    second.send(make_message(602, sender="you", ref=refs[1]))
    assert pending[1].wait(30).seq == 602
    back = until(client, Back)
    assert (back.resumed, back.caught_up) == (False, 0)
    assert [until(client, MessageEvent).seq for _ in range(2)] == [601, 602]
    second.break_connection()
    assert server.next_connection().hello.resume == Resume(session="other", epoch="e", rooms={"lobby": 602})


def test_new_epoch_resets_the_positions(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, make_welcome(RoomState("lobby", 1, 1), epoch="f", id="you"))
    client = connect(server)
    seen_two(server, client)
    server.next_connection().send(make_message(2))
    assert until(client, Back).resumed is False
    assert until(client, MessageEvent).seq == 2


@pytest.mark.parametrize("code", ["name_taken", "unavailable", "rate_limited"])
def test_reconnect_retries_after_a_temporary_refusal(fake_server: Scripted, connect: Any, code: Any) -> None:
    refusal = Error(code=ErrorCode(code), message="not now", retry_after=0.05)
    server = fake_server(FIRST_WELCOME, refusal, RESUMED_WELCOME)
    client = connect(server)
    server.next_connection().break_connection()
    until(client, Lost)
    lost = until(client, Lost)
    assert (lost.message, lost.wait >= 0.05) == ("not now", True)
    until(client, Back)


def test_reconnect_ends_after_a_permanent_refusal(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, Error(code=ErrorCode.FORBIDDEN, message="never"))
    client = connect(server)
    pending = client.send("lost?")
    server.next_connection().break_connection()
    with pytest.raises(Refused, match="never"):
        list(client)
    with pytest.raises(Refused, match="never"):
        pending.wait(0)
    assert [message.message for message in client.unacknowledged] == ["lost?"]


@pytest.mark.parametrize(
    ("reason", "sentence"), [("replaced", "another connection"), ("kicked", "you were kicked")]
)
def test_client_replaced_or_kicked_reports_it_and_does_not_reconnect(
    fake_server: Scripted, connect: Any, reason: str, sentence: str
) -> None:
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME)
    client = connect(server)
    server.next_connection().send(Bye(reason=ByeReason(reason)))
    with pytest.raises(ConnectionLost, match=sentence) as lost:
        list(client)
    assert lost.value.bye is not None
    with pytest.raises(ConnectionLost):
        client.say("hi")


def test_close_of_a_resumable_session_sends_quit(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME)
    client = connect(server)
    connection = server.next_connection()
    client.close()
    connection.next_command(Quit)


def test_close_during_a_reconnect_ends_without_error(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, [])
    client = connect(server)
    server.next_connection().break_connection()
    second = server.next_connection()
    closing = threading.Thread(target=client.close)
    closing.start()
    list(client)  # the session has ended now
    second.send(RESUMED_WELCOME)
    closing.join()  # an exception in the reader fails this test


def test_session_is_taken_over_by_another_client(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME)
    client = connect(server)
    seen_two(server, client, head=13)
    client.close()
    resume = client.resume
    assert resume is not None
    other = connect(server, resume=resume)
    connection = server.next_connection()
    assert connection.hello.resume == resume
    connection.send(make_message(13))
    assert seqs_until_back(other) == ([13], Back(seconds=0.0, caught_up=1, resumed=True))


def test_rename_without_connection_is_requested_after_the_resume(fake_server: Scripted, connect: Any) -> None:
    refusal = Error(code=ErrorCode.UNAVAILABLE, message="not now", retry_after=0.05)
    server = fake_server(FIRST_WELCOME, refusal, RESUMED_WELCOME)
    client = connect(server)
    server.next_connection().break_connection()
    while until(client, Lost).message != "not now":
        pass
    client.rename("anna")
    server.next_connection()
    connection = server.next_connection()
    assert connection.next_command(Rename).username == "anna"
    connection.send(Renamed(sender="me", old="ann", username="anna"))
    until(client, Renamed)
    assert client.username == "anna"


def test_resume_contains_joined_rooms_and_opened_conversations(fake_server: Scripted, connect: Any) -> None:
    server = fake_server(FIRST_WELCOME, RESUMED_WELCOME)
    client = connect(server)
    first = server.next_connection()
    first.send(Joined(room="Dev", seq=7, count=1), make_message(8, "Dev"))
    first.send(Opened(room="@ann,bob", peer="bob", by="bob", seq=3), make_message(4, "@ann,bob"))
    first.send(Opened(room="@ann,bob", peer="bob", by="bob", seq=3))  # repeated
    for _ in range(2):
        until(client, MessageEvent)
    until(client, Opened)
    first.break_connection()
    second = server.next_connection()
    rooms = {"lobby": 10, "Dev": 8, "@ann,bob": 4}
    assert second.hello.resume == Resume(session="secret", epoch="e", rooms=rooms)
    assert second.hello.rooms == ["lobby", "Dev"]


def test_welcome_with_a_partial_list_keeps_all_rooms(fake_server: Scripted, connect: Any) -> None:
    rooms = RoomState("lobby", 10, 1), RoomState("dev", 5, 1)
    shortened = make_welcome(rooms[0], resumed=True, more=True, after="lobby")
    server = fake_server(make_welcome(*rooms), shortened)
    client = connect(server)
    server.next_connection().break_connection()
    assert isinstance(until(client, Welcome), Welcome)
    until(client, Back)
    assert sorted(client.joined_rooms) == ["dev", "lobby"]
