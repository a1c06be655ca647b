"""Messages in rooms: seqs, bytes, acknowledgement, de-duplication, history."""

import json
import time

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import Frame, NdjsonPeer, unique_name
from support.processes.process import ServerProcess, eventually

MAX_FRAME_BYTES = 65_536


def test_everyone_gets_identical_bytes_and_gapless_seqs(server: ServerProcess, connect: Connect) -> None:
    # Given a room with four members
    room = unique_name("room")
    people = [connect(server, "p", rooms=[room]) for _ in range(4)]

    # When two send at the same time
    for number in range(100):
        for one in people[:2]:
            one.send_frame("message", room=room, message=f"m{number}", ref=f"r{number}")

    # Then all get the same bytes, with seqs from 1 on, in order
    feeds = []
    for one in people:
        feed: list[bytes] = []
        while len(feed) < 200:
            if one.next_frame()["type"] == "message":
                feed.append(one.raw)
        feeds.append(feed)
    assert feeds[1:] == feeds[:1] * 3
    assert [json.loads(raw)["seq"] for raw in feeds[0]] == list(range(1, 201))


def test_message_event_has_documented_fields(server: ServerProcess, connect: Connect) -> None:
    ann, bob = connect(server, "ann"), connect(server, "bob")
    before = time.time()
    ann.say("hi", ref="mine")
    message = bob.expect("message", message="hi", from_=ann.id)
    seq, timestamp = message.pop("seq"), message.pop("timestamp")
    assert message == {
        "type": "message", "room": "lobby", "from": ann.id, "username": ann.username,
        "message": "hi", "origin": "client", "ref": "mine",
    }  # fmt: skip
    assert isinstance(seq, int)
    assert before - 1 <= timestamp <= time.time() + 1
    assert isinstance(timestamp, float)


def test_a_newcomer_gets_what_comes_after_its_seq(server: ServerProcess, connect: Connect) -> None:
    # Given a room with continuous messages
    room = unique_name("room")
    ann = connect(server, "ann", rooms=[room])
    for number in range(300):
        ann.send_frame("message", room=room, message="m", ref=f"r{number}")

    # When others join meanwhile, then they get all messages after their seq, without a gap
    for _ in range(5):
        bob = connect(server)
        (state,) = bob.hello("bob", rooms=[room])["rooms"]
        ann.send_frame("message", room=room, message="end")
        seqs = []
        while (frame := bob.expect("message"))["message"] != "end":
            seqs.append(frame["seq"])
        seqs.append(frame["seq"])
        assert seqs == list(range(state["seq"] + 1, seqs[-1] + 1))


def test_a_ref_makes_one_message_only(server: ServerProcess, connect: Connect) -> None:
    # Given a message with a ref
    ann, bob = connect(server, "ann"), connect(server, "bob")
    first = ann.say("the first counts", ref="same")

    # When it is sent again, with another text, even to another room
    again = ann.ask("message", message="not this", ref="same", room="lobby")

    # Then only its sender gets the first one's event, marked `again`
    assert again == first | {"again": True}
    ann.say("end")
    heard = [frame["message"] for frame in bob.frames_so_far() if frame["type"] == "message"]
    assert heard == ["the first counts", "end"]

    # And the same ref of another session is independent
    assert "again" not in bob.say("mine", ref="same")


def test_a_ref_counts_while_its_message_is_pending(server: ServerProcess, connect: Connect) -> None:
    # Given the same frame three times in one packet
    ann, bob = connect(server, "ann"), connect(server, "bob")
    frame = b'{"type":"message","message":"once","ref":"twin"}\n'
    ann.send(frame * 3)

    # Then it is stored once, and each repetition is answered
    answers = [ann.expect("message", ref="twin") for _ in range(3)]
    assert [answer.pop("again", False) for answer in answers] == [False, True, True]
    assert answers[0] == answers[1] == answers[2]
    bob.expect("message", message="once")
    assert not [frame for frame in bob.frames_so_far() if frame["type"] == "message"]


def test_the_last_1024_refs_are_remembered(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann", rooms=[unique_name("room")])
    room = unique_name("room")
    ann.ask("join", room=room)
    for number in range(1024):
        ann.send_frame("message", room=room, message="m", ref=f"r{number}")
    ann.expect("message", ref="r1023")
    assert ann.ask("message", room=room, message="m", ref="r0")["again"] is True
    assert ann.ask("message", room=room, message="m", ref="r1023")["again"] is True


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_ref_is_answered_from_the_store(start_server: StartServer, connect: Connect, store: str) -> None:
    # Given a message that is no longer in memory
    flags = () if store == "sqlite" else ("--store", "memory")
    server = start_server("--rate-messages", "0", *flags)
    ann = connect(server, "ann")
    first = ann.say("long ago", ref="old")
    for number in range(600):
        ann.send_frame("message", message="m", ref=f"r{number}")
    ann.expect("message", ref="r599")

    # When it is sent again, then the first one's event comes
    assert ann.ask("message", message="long ago", ref="old") == first | {"again": True}


# History


def fill(peer: NdjsonPeer, room: str, texts: list[str]) -> None:
    peer.ask("join", room=room)
    for number, text in enumerate(texts):
        peer.send_frame("message", room=room, message=text, ref=f"{room}{number}")
    peer.expect("message", ref=f"{room}{len(texts) - 1}")


def seqs(page: Frame) -> list[int]:
    assert page["type"] == "history", page
    return [message["seq"] for message in page["messages"]]


@pytest.mark.parametrize("total", [60, 700])  # all of it in the tail in memory, or most of it in the store
def test_history(server: ServerProcess, connect: Connect, total: int) -> None:
    # Given a room with many messages
    ann = connect(server, "ann")
    room = unique_name("room")
    fill(ann, room, [f"m{number}" for number in range(1, total + 1)])

    # Then the default page has the newest fifty
    page = ann.ask("history", room=room.upper())
    assert seqs(page) == list(range(total - 49, total + 1))
    assert (page["room"], page["more"]) == (room, True)
    assert page["messages"][0] | {"timestamp": 0} == {
        "type": "message", "room": room, "seq": total - 49, "from": ann.id, "username": ann.username,
        "message": f"m{total - 49}", "origin": "client", "timestamp": 0, "ref": f"{room}{total - 50}",
    }  # fmt: skip

    # And pages before, after, and of any size
    assert seqs(ann.ask("history", room=room, before=21, limit=10)) == list(range(11, 21))
    assert seqs(ann.ask("history", room=room, after=20, limit=10)) == list(range(21, 31))
    assert seqs(ann.ask("history", room=room, after=total - 3)) == [total - 2, total - 1, total]
    assert ann.ask("history", room=room, after=total - 3)["more"] is False
    assert ann.ask("history", room=room, before=3)["more"] is False
    assert ann.ask("history", room=room, before=3, limit=1)["more"] is True
    assert ann.ask("history", room=room, after=0, limit=500)["more"] is (total > 500)
    assert seqs(ann.ask("history", room=room, after=total)) == []
    assert seqs(ann.ask("history", room=room, before=1)) == []
    many = seqs(ann.ask("history", room=room, limit=500))  # as many as fit into a frame
    assert many == list(range(total + 1 - len(many), total + 1))
    assert 50 < len(many) <= 500


@pytest.mark.parametrize("forward", [True, False])
def test_no_page_of_history_is_larger_than_a_frame(
    server: ServerProcess, connect: Connect, *, forward: bool
) -> None:
    # Given a room with messages of maximum length, some with six bytes per character in JSON
    ann = connect(server, "ann")
    room = unique_name("room")
    fill(ann, room, ["\t" * 8192 if number % 2 else "x" * 8192 for number in range(40)])

    # When all of it is read
    read: list[int] = []
    cursor = {"after": 0} if forward else {}
    while True:
        page = ann.ask("history", room=room, limit=500, **cursor)
        assert len(ann.raw) <= MAX_FRAME_BYTES
        assert page["messages"]
        read = read + seqs(page) if forward else seqs(page) + read
        if not page["more"]:
            break
        cursor = {"after": page["after"]} if forward else {"before": page["before"]}

    # Then there are several pages, with each seq once
    assert read == list(range(1, 41))


def test_history_is_for_members(server: ServerProcess, connect: Connect) -> None:
    ann, bob = connect(server, "ann"), connect(server, "bob")
    room = unique_name("room")
    fill(ann, room, ["hi"])
    assert bob.expect_refusal("history", room=room) == "not_joined"
    assert bob.expect_refusal("history", room=unique_name("never")) == "not_joined"
    assert bob.ask("join", room=room)["seq"] == 1
    assert seqs(bob.ask("history", room=room)) == [1]


def test_memory_store_over_memory_messages_keeps_newest(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--store", "memory", "--memory-messages", "300", "--rate-messages", "0")
    ann = connect(server, "ann")
    fill(ann, "room", ["m"] * 500)
    assert seqs(ann.ask("history", room="room", after=0, limit=500)) == list(range(201, 501))


# Lists that are longer than a frame


def test_long_lists_come_in_pages(start_server: StartServer, connect: Connect) -> None:
    # Given a client in many rooms with names of maximum length
    server = start_server("--store", "memory", "--rate-messages", "0", "--max-rooms", "2000")
    names = [f"{number:04}" + "字" * 28 for number in range(1000)]
    ann = connect(server)
    welcome = ann.hello("ann", rooms=names[:600])

    # Then the welcome is truncated and says after which room
    assert len(ann.raw) <= MAX_FRAME_BYTES
    shown = [state["room"] for state in welcome["rooms"]]
    assert shown == names[: len(shown)]
    assert (welcome["more"], welcome["after"], len(shown) < 600) == (True, shown[-1], True)

    # And all are listed page by page
    for name in names[600:]:
        ann.send_frame("join", room=name)
    listed: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = ann.ask("rooms", **after)
        assert len(ann.raw) <= MAX_FRAME_BYTES
        listed += [state["room"] for state in page["rooms"]]
        if not page["more"]:
            break
        after = {"after": page["after"]}
    assert listed == names


# Presence


def test_presence_lists_joined_and_left_members(server: ServerProcess, connect: Connect) -> None:
    # Given a room with one member
    room = unique_name("room")
    ann = connect(server, "ann", rooms=[room])
    ann.expect("presence", room=room)

    # When others join, then presence lists them, combined, with the count
    people = [connect(server, "p", rooms=[room]) for _ in range(5)]
    joined: list[str] = []
    while len(joined) < 5:
        presence = ann.expect("presence", room=room)
        joined += presence["joined"]
        assert presence["left"] == []
    assert joined == [one.username for one in people]
    assert presence["count"] == 6

    # When they leave, in three ways, then presence lists that as well
    people[0].close()
    people[1].send_frame("quit")
    people[2].send_frame("leave", room=room)
    left: set[str] = set()
    while len(left) < 3:
        presence = ann.expect("presence", room=room)
        left |= set(presence["left"])
        assert presence["joined"] == []
    assert left == {one.username for one in people[:3]}
    assert presence["count"] == 3
    assert ann.ask("join", room=room)["count"] == 3


def test_presence_in_large_room_has_count_only(start_server: StartServer, connect: Connect) -> None:
    # Given a room with a hundred members
    server = start_server("--store", "memory")
    people = [connect(server, "p", rooms=["hall"]) for _ in range(100)]

    # When one more joins
    last = connect(server, "last", rooms=["hall"])

    # Then presence has the count, and no list
    presence = people[0].expect("presence", count=101)
    assert set(presence) == {"type", "room", "count"}

    # And a rename is sent only to members of a shared smaller room
    last.ask("join", room="corner")
    people[1].ask("join", room="corner")
    last.ask("rename", username="other")
    people[1].expect("renamed", username="other")
    assert not [frame for frame in people[0].frames_so_far() if frame["type"] == "renamed"]


# Before and after a restart


def test_epoch_and_history_outlive_a_restart(start_server: StartServer, connect: Connect) -> None:
    # Given a room with messages, and a server that is stopped, then one that is killed
    server = start_server("--drain-timeout", "0.2")
    ann = connect(server)
    epoch = ann.hello("ann", rooms=["room"])["epoch"]
    said = [ann.say(f"m{number}", room="room") for number in range(3)]
    for how in (server.stop, server.kill):
        how()
        server.start()

        # When a client connects, then seqs continue in the same epoch, and nothing is lost
        bob = connect(server)
        welcome = bob.hello("bob", rooms=["room"])
        assert welcome["epoch"] == epoch
        assert welcome["rooms"] == [{"room": "room", "seq": len(said), "count": 1}]
        assert bob.ask("history", room="room")["messages"] == said
        said.append(bob.say("again", room="room"))
        assert said[-1]["seq"] == len(said)


def test_memory_store_restart_changes_epoch(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--store", "memory", "--drain-timeout", "0.2")
    ann = connect(server)
    epoch = ann.hello("ann")["epoch"]
    ann.say("soon forgotten")
    server.stop()
    server.start()
    bob = connect(server)
    welcome = bob.hello("bob")
    assert welcome["epoch"] != epoch
    assert welcome["rooms"][0]["seq"] == 0


def test_a_failed_start_changes_no_epoch(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--drain-timeout", "0.2")
    epoch = connect(server).hello("ann")["epoch"]
    other = start_server("--store", "memory")
    server.stop()
    server.start("--port", str(other.port), wait=False)
    assert server.wait_exit() == 1
    server.start()
    assert connect(server).hello("ann")["epoch"] == epoch


def test_lost_seqs_change_the_epoch(start_server: StartServer, connect: Connect) -> None:
    # Given a data file of which a copy was made before the last messages
    server = start_server("--drain-timeout", "0.2")
    ann = connect(server, "ann")
    ann.say("kept")
    server.stop()
    path = server.data / "greenroom.db"
    backup = path.read_bytes()
    server.start()
    ann = connect(server)
    epoch = ann.hello("ann")["epoch"]
    ann.say("lost")
    server.stop()

    # When the copy is put back
    path.write_bytes(backup)
    server.start()

    # Then the epoch has changed, and the log says so
    assert connect(server).hello("ann")["epoch"] != epoch
    eventually(lambda: server.entries("epoch_changed"))
