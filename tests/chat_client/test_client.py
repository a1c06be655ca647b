"""The client library with a real server."""

import threading
from typing import Any, TypeVar

import pytest

from chat_client import Client, ConnectionLost, Lost, Refused, TimedOut, follow
from chat_client.events import Overrun
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Closed, Event, MessageEvent, Opened, Renamed, Welcome

Kind = TypeVar("Kind", bound=Event)


def texts(events: list[MessageEvent]) -> list[str]:
    return [event.message for event in events]


def until(client: Client, kind: type[Kind]) -> Kind:
    while True:
        event = client.next_event(timeout=30)
        if isinstance(event, kind):
            return event


def test_say_returns_the_stored_message_and_reaches_others(server: Any) -> None:
    with Client("say-ann", server.address) as ann, Client("say-bob", server.address) as bob:
        stored = ann.say("hi")
        assert (stored.sender, stored.message, stored.room) == (ann.id, "hi", "lobby")
        heard = until(bob, MessageEvent)
        assert heard == stored
        assert not ann.unacknowledged


def test_send_of_many_messages_keeps_their_order(server: Any) -> None:
    with Client("many", server.address, rooms=["many"]) as client:
        pending = [client.send(str(number), "many") for number in range(2000)]
        seqs = [one.wait(30).seq for one in pending]
        assert seqs == list(range(1, 2001))
        assert texts(client.history("many", limit=1200)) == [str(number) for number in range(800, 2000)]
        assert texts(client.history("many", after=1, limit=700)) == [str(number) for number in range(1, 701)]
        assert texts(client.history("many", before=4)) == ["0", "1", "2"]
        assert len(client.history("many", after=0, limit=None)) == 2000


def test_lists_of_users_and_rooms_return_all_pages(server: Any) -> None:
    names = [f"list-{number:02}" for number in range(30)]
    with Client("lister", server.address, rooms=names) as client:
        assert {state.room for state in client.rooms()} >= set(names)
        assert [user.username for user in client.who("list-07")] == ["lister"]
        assert "lister" in [user.username for user in client.who()]
        client.leave("list-07")
        assert "list-07" not in client.joined_rooms
        assert client.join("list-07").count == 1
        assert client.servers()[0].clients >= 1


def test_conversation_is_opened_closed_and_follows_a_rename(server: Any) -> None:
    with Client("pair-ann", server.address) as ann, Client("pair-bob", server.address) as bob:
        room = ann.open("pair-bob").room
        assert until(bob, Opened).peer == "pair-ann"
        bob.rename("pair-rob")
        assert bob.username == "pair-rob"
        assert until(ann, Renamed).username == "pair-rob"
        assert ann.joined_rooms[room].peer == "pair-rob"
        assert ann.say("hi", to="pair-rob").room == room
        ann.close_conversation("pair-rob")
        assert until(bob, Closed).by == "pair-ann"
        assert room not in bob.joined_rooms


def test_refused_has_the_error_code(server: Any) -> None:
    with Client("refused", server.address) as client:
        with pytest.raises(Refused) as refusal:
            client.say("hi", to="nobody-at-all")
        assert refusal.value.code is ErrorCode.NO_SUCH_USER
        with pytest.raises(Refused) as refusal:
            Client("REFUSED", server.address).connect()
        assert refusal.value.code is ErrorCode.NAME_TAKEN
        with pytest.raises(ValueError, match="control character"):
            client.send("\x1b[2J")
        assert not client.unacknowledged


def test_rate_limited_message_has_retry_after(start_server: Any) -> None:
    server = start_server("--store", "memory", "--rate-messages", "2", "--rate-messages-burst", "2")
    with Client("fast", server.address) as client:
        pending = [client.send(str(number)) for number in range(6)]
        errors = []
        for one in pending:
            try:
                one.wait(30)
            except Refused as refused:
                errors.append(refused)
        assert errors
        assert errors[0].code is ErrorCode.RATE_LIMITED
        assert errors[0].retry_after is not None
        assert errors[0].retry_after > 0


def test_ping_rtt_and_tcp_ms_are_measured(server: Any) -> None:
    with Client("pinger", server.address, ping_every=0) as client:
        measured = [client.ping() for _ in range(5)]
        assert client.samples.values() == measured
        assert client.samples.min_ms == min(measured)
        assert client.rtt().username == "pinger"


def test_ping_every_feeds_samples(server: Any) -> None:
    with Client("ticker", server.address, ping_every=0.01) as client:
        while client.samples.count < 3:
            client.ping()


def test_pings_of_the_server_are_answered(start_server: Any) -> None:
    server = start_server("--ping-interval", "0.5", "--rate-messages", "0")
    with Client("ponger", server.address, ping_every=0) as client:
        while client.rtt().samples < 5:  # an unanswered ping would have ended the session
            client.ping()


def test_run_calls_handlers_for_their_events_only(server: Any) -> None:
    heard: list[str] = []
    with Client("handler", server.address) as client, Client("speaker", server.address) as speaker:

        def hear(event: MessageEvent) -> None:
            heard.append(event.message)
            client.close()

        client.on(MessageEvent, hear)
        speaker.say("for the handler")
        client.run()
    assert heard == ["for the handler"]


def test_quit_waits_for_acknowledgements(server: Any) -> None:
    client = Client("quitter", server.address, rooms=["quitter"])
    client.connect()
    pending = [client.send(str(number), "quitter") for number in range(300)]
    client.quit()
    assert all(one.wait(0) for one in pending)
    assert [event for event in client if isinstance(event, MessageEvent)][-1].message == "299"


def test_close_writes_queued_messages(server: Any) -> None:
    with Client("closed-bob", server.address, rooms=["closed"]) as bob:
        client = Client("closed-ann", server.address, rooms=["closed"])
        client.connect()
        for number in range(100):
            client.send(str(number), "closed")
        client.close()
        assert until(bob, MessageEvent).message == "0"
        while until(bob, MessageEvent).message != "99":
            pass


def test_slow_program_gets_an_overrun_and_follow_reads_the_log(server: Any) -> None:
    with Client("slow", server.address, rooms=["slow"], backlog=10) as slow:
        for number in range(100):
            slow.say(str(number), "slow")
        dropped = slow.next_event(timeout=30)
        assert isinstance(dropped, Overrun)
        found = follow(slow, "slow", since=0)
        assert [next(found).message for _ in range(100)] == [str(number) for number in range(100)]


def test_lost_connection_without_reconnect_ends_the_session(start_server: Any) -> None:
    server = start_server()
    client = Client("once", server.address)
    client.connect()
    server.kill()
    with pytest.raises(ConnectionLost):
        list(client)
    with pytest.raises(ConnectionLost):
        client.say("hi")


def test_shutdown_of_the_server_is_connection_lost_with_bye(start_server: Any) -> None:
    server = start_server()
    client = Client("stopped", server.address)
    client.connect()
    server.stop()
    with pytest.raises(ConnectionLost) as lost:
        list(client)
    assert lost.value.bye is not None
    assert lost.value.bye.reason == "shutdown"


def test_reconnect_rejoins_rooms_and_resends_unacknowledged_messages(
    start_server: Any,
) -> None:
    server = start_server()
    with Client("back", server.address, rooms=["one"], reconnect=True) as client:
        client.join("two")
        until(client, Welcome)
        server.kill()
        assert "server" in until(client, Lost).message
        with pytest.raises(ConnectionLost):
            client.who()
        pending = [client.send(f"kept {number}", "two") for number in range(20)]
        assert len(client.unacknowledged) == 20
        server.start()
        until(client, Welcome)
        assert [one.wait(30).message for one in pending] == [f"kept {number}" for number in range(20)]
        assert sorted(client.joined_rooms) == ["one", "two"]
        assert texts(client.history("two")) == [f"kept {number}" for number in range(20)]


def test_follow_over_a_restart_has_no_gap_and_no_repeat(start_server: Any) -> None:
    server = start_server()
    count = 60
    with Client("reader", server.address, rooms=["log"], reconnect=True) as reader:

        def write() -> None:
            for part in range(3):
                with Client("writer", server.address, rooms=["log"]) as writer:
                    for number in range(20):
                        writer.say(str(part * 20 + number), "log")
                if part < 2:
                    server.kill()
                    server.start()

        thread = threading.Thread(target=write)
        thread.start()
        found = follow(reader, "log", since=0)
        assert [next(found).message for _ in range(count)] == [str(number) for number in range(count)]
        thread.join()


def test_frozen_server_raises_timed_out_and_keeps_the_connection(start_server: Any) -> None:
    server = start_server()
    with Client("patient", server.address) as client:
        server.freeze()
        pending = client.send("hi")
        with pytest.raises(TimedOut):
            pending.wait(0.05)
        with pytest.raises(TimedOut):
            client.ping(0.05)
        server.thaw()
        assert pending.wait(30).message == "hi"
