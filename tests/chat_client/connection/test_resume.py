"""Resuming with the real server, after a kill, a cut or a takeover: each message once, in order."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chat_client import Back, Client, ConnectionLost, Refused, follow
from chat_client.base.backoff import Backoff
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Event, MessageEvent, Opened, Welcome

Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    started: list[Client] = []

    def start(name: str, server: Any, **more: Any) -> Client:
        more = {"reconnect": True, "backoff": Backoff(0.01, 0.2), "timeout": 60, **more}
        client = Client(name, server.address, **more)
        client.connect()
        started.append(client)
        return client

    yield start
    for one in started:
        one.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Reader:
    """Reads a client's events in a thread."""

    def __init__(self, client: Client) -> None:
        self.messages: list[MessageEvent] = []
        self.events: list[Event] = []
        self._client = client
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in list(self.events))

    def _read(self) -> None:
        for event in self._client:
            if isinstance(event, MessageEvent):
                self.messages.append(event)
            self.events.append(event)


def speak(client: Client, count: int, room: str, disturb: Callable[[int], None]) -> list[MessageEvent]:
    """Send numbers, call `disturb` in between, and return the acknowledgements."""
    pending = []
    for number in range(count):
        pending.append(client.send(str(number), room))
        disturb(number)
    return [one.wait(60) for one in pending]


def check(acknowledged: list[MessageEvent], reader: Reader, count: int) -> None:
    """Assert that each number was stored once, acknowledged once, and seen once and in order."""
    assert [event.message for event in acknowledged] == [str(number) for number in range(count)]
    wait_until(lambda: len(reader.messages) >= count)
    assert [event.seq for event in reader.messages] == list(range(1, count + 1))
    assert [event.message for event in reader.messages] == [str(number) for number in range(count)]


def test_stream_over_kills_of_the_server_is_complete_and_in_order(
    start_server: Any, connect: Connect
) -> None:
    server = start_server("--rate-messages", "0", "--rate-bytes", "0")
    ann, bob = connect("ann", server, rooms=["r"]), connect("bob", server, rooms=["r"])
    own, other = Reader(ann), Reader(bob)

    def disturb(number: int) -> None:
        if number % 500 == 240:
            wait_until(lambda: not ann.unacknowledged)  # so that the client is connected before the next kill
        if number % 500 == 250:
            server.kill()
        if number % 500 == 300:
            server.start()

    acknowledged = speak(ann, 1500, "r", disturb)
    check(acknowledged, own, 1500)
    check(acknowledged, other, 1500)
    assert not ann.unacknowledged
    assert own.count(Welcome) == own.count(Back) + 1 == 4
    assert all(event.resumed for event in [*own.events, *other.events] if isinstance(event, Back))


def test_stream_over_cuts_on_both_sides_is_complete_and_in_order(server: Any, connect: Connect) -> None:
    ann, bob = connect("cut-ann", server, rooms=["cut"]), connect("cut-bob", server, rooms=["cut"])
    own, other = Reader(ann), Reader(bob)

    def disturb(number: int) -> None:
        if number % 100 == 40:
            ann.cut()
        if number % 70 == 30:
            bob.cut()

    acknowledged = speak(ann, 2000, "cut", disturb)
    check(acknowledged, own, 2000)
    check(acknowledged, other, 2000)
    wait_until(lambda: own.count(Back) > 0)
    assert ann.id == acknowledged[0].sender == acknowledged[-1].sender


def test_resume_with_many_missed_messages_delivers_and_counts_them(server: Any, connect: Connect) -> None:
    ann = connect("far-ann", server, rooms=["far"], backoff=Backoff(0.3, 0.3))
    bob = connect("far-bob", server, rooms=["far"])
    reader = Reader(ann)
    bob.say("0", "far")
    wait_until(lambda: len(reader.messages) == 1)
    ann.cut()
    for one in [bob.send(str(number), "far") for number in range(1, 5001)]:
        one.wait(60)
    wait_until(lambda: reader.count(Back) == 1)
    wait_until(lambda: len(reader.messages) >= 5001)  # those sent after the resume may follow `Back`
    (back,) = [event for event in reader.events if isinstance(event, Back)]
    assert [event.seq for event in reader.messages] == list(range(1, 5002))
    assert 0 < back.caught_up <= 5000


def test_conversation_after_a_resume_continues_at_its_seq(start_server: Any, connect: Connect) -> None:
    server = start_server()
    ann, bob = connect("ann", server), connect("bob", server)
    reader = Reader(ann)
    room = ann.say("hi", to="bob").room
    server.kill()
    pending = ann.send("are you back?", to="bob")
    server.start()
    assert pending.wait(60).room == room
    assert bob.say("yes", to="ann").room == room
    wait_until(lambda: len(reader.messages) == 3)
    assert [event.seq for event in reader.messages] == [1, 2, 3]
    assert ann.joined_rooms[room].peer == "bob"
    assert sum(isinstance(event, Opened) for event in reader.events) == 1


def test_name_is_held_after_a_cut_and_free_after_quit(server: Any, connect: Connect) -> None:
    ann = connect("held-ann", server, backoff=Backoff(1.0, 1.0))
    ann.cut()
    with pytest.raises(Refused) as refused:
        Client("held-ann", server.address).connect()
    assert refused.value.code is ErrorCode.NAME_TAKEN
    first = ann.id
    reader = Reader(ann)
    wait_until(lambda: reader.count(Back) == 1)
    assert (ann.id, ann.username) == (first, "held-ann")
    ann.quit()
    with Client("held-ann", server.address) as again:
        assert again.id != first
    with Client("held-ann", server.address, resumable=True) as closed:
        closed.close()  # ends the session too
    with Client("held-ann", server.address) as again:
        assert again.username == "held-ann"


def test_replaced_client_gets_the_reason_and_the_new_one_continues(server: Any, connect: Connect) -> None:
    ann = connect("twice-ann", server, rooms=["twice"])
    ann.say("here", "twice")
    other = connect("twice-ann", server, resume=ann.resume)
    with pytest.raises(ConnectionLost, match="another connection"):
        list(ann)
    assert (other.welcome.resumed, other.id) == (True, ann.id)
    assert other.say("and here", "twice").seq == 2


def test_resume_after_the_hold_time_opens_a_new_session(start_server: Any, connect: Connect) -> None:
    server = start_server("--resume-hold", "0.05")
    ann = connect("ann", server, rooms=["r"], backoff=Backoff(0.5, 0.5))
    reader = Reader(ann)
    ann.say("before", "r")
    first = ann.id
    ann.cut()
    with Client("bob", server.address, rooms=["r"]) as bob:
        bob.say("meanwhile", "r")
    pending = ann.send("after", "r")
    assert pending.wait(60).seq == 3
    assert ann.id != first
    wait_until(lambda: reader.count(Back) == 1)
    (back,) = [event for event in reader.events if isinstance(event, Back)]
    assert back.resumed is False
    assert [event.message for event in ann.history("r")] == ["before", "meanwhile", "after"]


def test_follow_continues_over_cuts(server: Any, connect: Connect) -> None:
    ann = connect("follow-ann", server, rooms=["follow"])
    bob = connect("follow-bob", server, rooms=["follow"])

    def send_all() -> None:
        for number in range(300):
            if number % 50 == 10:
                ann.cut()
            bob.say(str(number), "follow")

    sending = threading.Thread(target=send_all)
    sending.start()
    found = follow(ann, "follow", since=0)
    assert [next(found).message for _ in range(300)] == [str(number) for number in range(300)]
    sending.join()
