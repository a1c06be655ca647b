"""Private conversations over the wire."""

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import unique_name
from support.processes.process import ServerProcess


def test_open_and_close(server: ServerProcess, connect: Connect) -> None:
    # Given two clients
    ann, bob = connect(server, "ann"), connect(server, "bob")
    room = f"@{ann.username},{bob.username}"

    # When one opens a conversation, then both get `opened` with the other's name, only one with the ref
    answer = ann.ask("open", with_=bob.username.upper(), ref="mine")
    seq = answer.pop("seq")
    assert answer == {"type": "opened", "ref": "mine", "room": room, "with": bob.username, "by": ann.username}
    opened = bob.expect("opened")
    assert opened == {"type": "opened", "room": room, "with": ann.username, "by": ann.username, "seq": seq}

    # When messages are sent, by name or by room, then it is one conversation
    assert ann.say("hi", to=bob.username)["room"] == room
    assert bob.say("hello", room=room)["seq"] == 2

    # When one closes it, then both get `closed`, and it cannot be closed again
    assert bob.ask("close", with_=ann.username, ref="end") == {
        "type": "closed", "ref": "end", "room": room, "with": ann.username, "by": bob.username
    }  # fmt: skip
    assert ann.expect("closed") == {
        "type": "closed", "room": room, "with": bob.username, "by": bob.username
    }  # fmt: skip
    assert bob.expect_refusal("close", with_=ann.username) == "no_such_room"

    # And its history is kept, and a new message opens it again
    assert [message["message"] for message in ann.ask("history", room=room)["messages"]] == ["hi", "hello"]
    assert bob.say("one more thing", to=ann.username)["seq"] == 3
    assert ann.expect("opened")["seq"] == 2
    assert ann.expect("message", room=room)["message"] == "one more thing"


def test_the_first_message_opens_it(server: ServerProcess, connect: Connect) -> None:
    # Given two clients, and a third
    bob, ann, eve = connect(server, "zoe"), connect(server, "ann"), connect(server, "eve")
    room = f"@{ann.username},{bob.username}"  # always sorted

    # When one sends the other a message
    bob.send_frame("message", to=ann.username, message="psst", ref="1")

    # Then both get `opened`, then the message, the same bytes
    for one in (ann, bob):
        assert one.expect("opened")["by"] == bob.username
        message = one.next_frame()
        assert (message["type"], message["room"], message["seq"]) == ("message", room, 1)
    ann_raw, bob_raw = ann.raw, bob.raw
    assert ann_raw == bob_raw

    # And no other client gets it, or may enter, read or list the room
    assert not [frame for frame in eve.frames_so_far() if frame["type"] not in {"presence", "ping"}]
    assert eve.expect_refusal("history", room=room) == "forbidden"
    assert eve.expect_refusal("join", room=room) == "forbidden"
    assert eve.expect_refusal("message", room=room, message="me too") == "forbidden"
    assert eve.expect_refusal("who", room=room) == "forbidden"
    assert eve.expect_refusal("history", room="@no,such") == "forbidden"
    assert eve.expect_refusal("leave", room=room) == "not_joined"
    assert room not in str(eve.ask("rooms"))
    assert [user["username"] for user in ann.ask("who", room=room)["users"]] == [ann.username, bob.username]


def test_conversation_with_unknown_user_or_self_is_refused(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    for command in ("open", "close"):
        assert ann.expect_refusal(command, with_="nobody-here") == "no_such_user"
    assert ann.expect_refusal("message", to="nobody-here", message="hi") == "no_such_user"
    assert ann.expect_refusal("message", to=ann.username, message="hi") == "invalid_field"
    assert ann.expect_refusal("open", with_=ann.username) == "invalid_field"


def test_open_twice_returns_current_seq(server: ServerProcess, connect: Connect) -> None:
    ann, bob = connect(server, "ann"), connect(server, "bob")
    first = ann.ask("open", with_=bob.username)
    ann.say("hi", to=bob.username)
    second = bob.ask("open", with_=ann.username)
    assert second["room"] == first["room"]
    assert (second["with"], second["seq"]) == (ann.username, 1)


def test_both_open_at_once(server: ServerProcess, connect: Connect) -> None:
    ann, bob = connect(server, "ann"), connect(server, "bob")
    ann.send_frame("message", to=bob.username, message="from ann", ref="a")
    bob.send_frame("message", to=ann.username, message="from bob", ref="b")
    rooms = {bob.expect("message", message="from bob")["room"], ann.expect("message", ref="a")["room"]}
    assert len(rooms) == 1
    history = ann.ask("history", room=rooms.pop())["messages"]
    assert sorted(message["message"] for message in history) == ["from ann", "from bob"]


def test_a_conversation_keeps_its_name_and_shows_the_present_one(
    server: ServerProcess, connect: Connect
) -> None:
    # Given a conversation in which one side is renamed
    ann, bob = connect(server, "ann"), connect(server, "bob")
    room = ann.ask("open", with_=bob.username)["room"]
    new = bob.ask("rename", username=unique_name("bobby"))["username"]

    # When the other sends to the new name, then it is the same conversation
    assert ann.say("still you", to=new)["room"] == room
    assert ann.ask("open", with_=new)["with"] == new


def test_conversation_closes_when_a_side_disconnects(server: ServerProcess, connect: Connect) -> None:
    ann, bob = connect(server, "ann"), connect(server, "bob")
    room = ann.ask("open", with_=bob.username)["room"]
    bob.close()
    assert ann.expect("closed")["room"] == room
    assert ann.expect_refusal("message", to=bob.username, message="hi") == "no_such_user"


def test_a_name_that_was_passed_on_begins_another_conversation(
    server: ServerProcess, connect: Connect
) -> None:
    # Given a conversation of which one side has quit
    ann, bob = connect(server, "ann"), connect(server, "bob")
    room = ann.say("for bob's eyes only", to=bob.username)["room"]
    bob.send_frame("quit")
    ann.expect("closed")

    # When another user takes the name and sends to the first
    heir = connect(server)
    heir.send_frame("hello", username=bob.username)
    heir.id = heir.expect("welcome")["id"]
    answer = heir.say("hi, I am new", to=ann.username)

    # Then it is another room, and the old one is forbidden
    assert (answer["room"], answer["seq"]) == (f"{room}#2", 1)
    assert ann.expect("opened")["room"] == f"{room}#2"
    assert heir.expect_refusal("history", room=room) == "forbidden"


def test_numbers_of_conversations_outlive_a_restart(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--drain-timeout", "0.2")
    for room in ("@ann,bob", "@ann,bob#2"):
        ann, bob = connect(server), connect(server)
        for one, name in ((ann, "ann"), (bob, "bob")):
            one.send_frame("hello", username=name)
            one.id = one.expect("welcome")["id"]
        assert ann.say("hi", to="bob")["room"] == room
        for one in (ann, bob):
            one.send_frame("quit")
            one.expect_bye()
            one.close()
        server.stop()
        server.start()
