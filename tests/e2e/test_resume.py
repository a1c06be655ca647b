"""Resuming sessions over the wire: names, rooms, missed messages and resends."""

import socket
import struct

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import Frame, NdjsonPeer, unique_name
from support.processes.process import ServerProcess, eventually


def cut(peer: NdjsonPeer) -> None:
    """Reset the connection, without a quit."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def connect_resumable(
    connect: Connect, server: ServerProcess, name: str, **hello: object
) -> tuple[NdjsonPeer, Frame]:
    """Connect a resumable session; return the peer and its welcome."""
    peer = connect(server)
    return peer, peer.hello(name, resumable=True, **hello)


def come_back(
    connect: Connect, server: ServerProcess, welcome: Frame, positions: dict[str, int], **hello: object
) -> tuple[NdjsonPeer, Frame]:
    """Resume on a new connection; return the peer and the first frame."""
    peer = connect(server)
    resume = {"session": welcome["session"], "epoch": welcome["epoch"], "rooms": positions}
    peer.send_frame("hello", username=welcome["username"], resumable=True, resume=resume, **hello)
    frame = peer.next_frame()
    peer.username, peer.id = frame.get("username", ""), frame.get("id", "")
    return peer, frame


def texts(peer: NdjsonPeer, count: int) -> list[tuple[int, str]]:
    """Return the next messages: their seqs and texts."""
    frames = [peer.expect("message") for _ in range(count)]
    return [(frame["seq"], frame["message"]) for frame in frames]


def test_resume_sends_missed_messages_before_live_ones(server: ServerProcess, connect: Connect) -> None:
    # Given two clients in a room, one of which loses its connection
    room = unique_name("room")
    ann, welcome = connect_resumable(connect, server, "ann", rooms=[room])
    bob = connect(server, "bob", rooms=[room])
    seq = bob.say("one", room=room)["seq"]
    assert texts(ann, 1) == [(seq, "one")]
    cut(ann)
    eventually(lambda: bob.expect("presence", room=room)["left"] == [ann.username])

    # When the other continues to send, and the first resumes
    for text in ("two", "three"):
        bob.say(text, room=room)
    again, frame = come_back(connect, server, welcome, {room: seq}, rooms=["ignored"])

    # Then it is the same session at its last seq, and nothing is missing
    assert frame["type"] == "welcome"
    assert frame["resumed"] is True
    assert (frame["id"], frame["username"]) == (welcome["id"], welcome["username"])
    assert [(one["room"], one["seq"]) for one in frame["rooms"]] == [(room, seq)]
    bob.say("four", room=room)
    assert texts(again, 3) == [(seq + 1, "two"), (seq + 2, "three"), (seq + 3, "four")]
    again.say("five", room=room)
    assert bob.expect("message", message="five")["from"] == welcome["id"]


def test_name_of_lost_connection_is_held(server: ServerProcess, connect: Connect) -> None:
    ann, welcome = connect_resumable(connect, server, "ann")
    cut(ann)
    bob = connect(server, "bob")
    eventually(lambda: ann.username not in [user["username"] for user in bob.ask("who")["users"]])
    other = connect(server)
    assert other.expect_refusal("hello", username=ann.username) == "name_taken"
    _, frame = come_back(connect, server, welcome, {})
    assert frame["resumed"] is True
    assert ann.username in [user["username"] for user in bob.ask("who")["users"]]


def test_a_name_is_free_after_its_time(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--resume-hold", "0.2")
    ann, welcome = connect_resumable(connect, server, "ann")
    cut(ann)
    newcomer = connect(server)

    def admitted() -> bool:
        newcomer.send_frame("hello", username=ann.username)
        return bool(newcomer.next_frame()["type"] == "welcome")

    eventually(admitted)
    _, frame = come_back(connect, server, welcome, {})
    assert frame["code"] == "name_taken"


def test_resume_after_quit_starts_new_session(server: ServerProcess, connect: Connect) -> None:
    ann, welcome = connect_resumable(connect, server, "ann")
    ann.send_frame("quit")
    assert ann.expect_bye()["reason"] == "quit"
    _, frame = come_back(connect, server, welcome, {"lobby": 0})
    assert frame["type"] == "welcome"
    assert frame["resumed"] is False
    assert frame["id"] != welcome["id"]
    assert frame["session"] != welcome["session"]


def test_a_good_bye_outlives_a_kill(start_server: StartServer, connect: Connect) -> None:
    server = start_server()
    ann, welcome = connect_resumable(connect, server, "ann")
    ann.send_frame("quit")
    ann.expect_bye()
    server.kill()
    server.start()
    _, frame = come_back(connect, server, welcome, {"lobby": 0})
    assert (frame["type"], frame["resumed"]) == ("welcome", False)


def test_a_connection_that_hangs_is_replaced(server: ServerProcess, connect: Connect) -> None:
    room = unique_name("room")
    ann, welcome = connect_resumable(connect, server, "ann", rooms=[room])
    again, frame = come_back(connect, server, welcome, {room: 0})
    assert frame["resumed"] is True
    assert ann.expect_bye()["reason"] == "replaced"
    again.say("still here", room=room)
    assert again.ask("who", room=room)["users"][0]["username"] == ann.username


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_session_outlives_the_server(start_server: StartServer, connect: Connect, how: str) -> None:
    # Given a session with a message, a conversation, a new name and a ref
    server = start_server()
    ann, welcome = connect_resumable(connect, server, "ann", rooms=["Garden"])
    bob, bobs = connect_resumable(connect, server, "bob", rooms=["Garden"])
    first = ann.say("one", room="Garden", ref="r1")
    private = ann.say("psst", to=bob.username)
    renamed = ann.ask("rename", username=unique_name("anna"))["username"]

    # When the server ends, and starts again
    server.kill() if how == "kill" else server.stop()
    server.start()
    stranger = connect(server)
    assert stranger.expect_refusal("hello", username=renamed) == "name_taken"
    back_bob, _ = come_back(connect, server, bobs, {"garden": 0, private["room"]: 0})
    again, frame = come_back(connect, server, welcome, {"Garden": first["seq"]})

    # Then everything is restored
    assert frame["resumed"] is True
    assert frame["epoch"] == welcome["epoch"]
    assert frame["username"] == renamed
    assert {one["room"] for one in frame["rooms"]} == {"Garden", private["room"]}
    assert back_bob.expect("message", room="Garden")["message"] == "one"
    assert back_bob.expect("message", room=private["room"])["message"] == "psst"
    repeated = again.ask("message", message="other words", room="Garden", ref="r1")
    assert repeated["again"] is True
    assert (repeated["seq"], repeated["message"]) == (first["seq"], "one")
    answer = back_bob.say("yes?", to=renamed)
    assert answer["seq"] == private["seq"] + 1
    assert again.expect("message", room=private["room"], message="yes?")["seq"] == answer["seq"]


def test_another_epoch_begins_another_session(server: ServerProcess, connect: Connect) -> None:
    ann, welcome = connect_resumable(connect, server, "ann")
    cut(ann)
    _, frame = come_back(connect, server, welcome | {"epoch": "another"}, {"lobby": 7})
    assert frame["type"] == "welcome"
    assert frame["resumed"] is False
    assert frame["username"] == ann.username


def test_message_to_held_session_is_delivered_on_resume(server: ServerProcess, connect: Connect) -> None:
    # Given a held session
    ann, welcome = connect_resumable(connect, server, "ann")
    bob = connect(server, "bob")
    cut(ann)
    eventually(lambda: ann.username not in [user["username"] for user in bob.ask("who")["users"]])

    # When a conversation is opened with it, and closed again
    said = bob.say("are you there?", to=ann.username)
    assert bob.ask("close", with_=ann.username)["type"] == "closed"

    # Then it gets the message when it resumes, and `closed` after it
    again, frame = come_back(connect, server, welcome, {})
    (state,) = [one for one in frame["rooms"] if one["room"] == said["room"]]
    assert state["with"] == bob.username
    assert state["seq"] == 0
    assert texts(again, 1) == [(1, "are you there?")]
    closed = again.next_frame()
    assert (closed["type"], closed["room"], closed["by"]) == ("closed", said["room"], bob.username)


def test_resume_after_trimmed_messages_gets_gap(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--store", "memory", "--memory-messages", "10")
    ann, welcome = connect_resumable(connect, server, "ann")
    bob = connect(server, "bob")
    cut(ann)
    bob.expect("presence", left=[ann.username])
    for number in range(400):
        bob.say(f"{number}" + "x" * 500)
    bob.close()  # the lobby is empty, so its tail in memory is gone, too
    carl = connect(server, "carl")
    carl.say("end")
    again, frame = come_back(connect, server, welcome, {"lobby": 0})
    assert frame["resumed"] is True
    gap = again.next_frame()
    while gap["type"] == "presence":
        gap = again.next_frame()
    assert (gap["type"], gap["room"], gap["first"]) == ("gap", "lobby", 1)
    assert again.expect("message")["seq"] == gap["last"] + 1
