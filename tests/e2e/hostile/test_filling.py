"""What one address may fill up for others: rooms, memory, conversations. It gives way, or has a bound."""

from pathlib import Path

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.server_counters import wait_counted

QUICK = ("--log-interval", "0.1", "--drain-timeout", "0.2", "--rate-messages", "0", "--rate-bytes", "0")


def make_rooms(peer: NdjsonPeer, name: str, count: int) -> list[str]:
    """Make rooms, say something in each, and leave; return the type or code of each answer to `join`."""
    for number in range(count):
        room = f"{name}{number}"
        peer.send_frame("join", room=room, ref="j")
        peer.send_frame("message", message="x", room=room, ref=f"m{number}")
        peer.send_frame("leave", room=room)
    answers = [one for one in peer.frames_so_far() if one.get("ref") == "j"]
    return [str(one.get("code", one["type"])) for one in answers]


def rooms(peer: NdjsonPeer) -> set[str]:
    return {room["room"] for room in peer.ask("rooms")["rooms"]}


def test_rooms_that_are_idle_give_way_also_after_a_restart(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    # Given a server for eight rooms, a room with a member, and a client that makes far more
    data = ("--data-dir", str(tmp_path / "data"), "--max-public-rooms", "8")
    server = start_server(*QUICK, *data)
    ann, eve = connect(server, "ann", rooms=["hers"]), connect(server, "eve", rooms=["pit"])
    ann.say("something", room="hers")
    eve.say("something", room="pit")
    assert make_rooms(eve, "z", 300) == ["joined"] * 300
    # Then people are let in, and make rooms of their own
    assert connect(server).hello("cat")["rooms"][0]["room"] == "lobby"
    assert connect(server).hello("dan", rooms=["dans"])["rooms"][0]["room"] == "dans"
    assert len(rooms(ann)) <= 8
    assert {"hers", "pit", "lobby", "dans"} <= rooms(ann)
    # And a room that is gone goes on where it ended, without its messages
    assert ann.ask("join", room="z0")["seq"] == 1
    assert ann.ask("history", room="z0")["messages"] == []
    # And all that after a restart
    server.stop()
    server = start_server(*QUICK, *data)
    eve = connect(server)
    assert eve.hello("eve")["rooms"][0]["room"] == "lobby"
    assert make_rooms(eve, "y", 30) == ["joined"] * 30
    assert len(rooms(eve)) <= 9  # the lobby can always be made
    assert eve.ask("join", room="z1")["seq"] == 1
    assert eve.say("next", room="z1")["seq"] == 2


def test_one_address_makes_a_bounded_number_of_rooms(start_server: StartServer, connect: Connect) -> None:
    server = start_server(*QUICK, "--store", "memory", "--limit-loopback", "--rate-rooms", "20")
    answers = []
    for number in range(5):  # a new connection is no new allowance
        answers += make_rooms(connect(server, "eve"), f"z{number}-", 10)
    assert answers == ["joined"] * 20 + ["rate_limited"] * 30
    wait_counted(server, "errors", "rate_limited", 30)
    good = connect(server)
    good.send_frame("hello", username="good", rooms=["good"], ref="h")
    refused = good.next_frame()
    assert (refused["code"], refused["ref"]) == ("rate_limited", "h")
    assert 0 < refused["retry_after"] <= 180
    good.hello("good", rooms=["z0-1", "lobby"])
    good.say("rooms that exist can be joined", room="z0-1")


def test_refs_of_a_session_that_was_away_are_recognised(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    """They are not in memory meanwhile (`core/sessions/test_resumable.py`); some were said just now."""
    server = start_server(*QUICK, "--data-dir", str(tmp_path / "data"))
    ann = connect(server)
    welcome = ann.hello("ann", resumable=True)
    for number in range(1100):
        ann.send_frame("message", message=str(number), ref=f"r{number}")
    ann.expect("message", ref="r1099")
    ann.close()
    resume = {"session": welcome["session"], "epoch": welcome["epoch"], "rooms": {"lobby": 1100}}
    again = connect(server)
    again.send_frame("hello", username="ann", resume=resume)
    assert again.expect("welcome")["resumed"] is True
    for number in (1099, 1098, 500, 76):
        again.send_frame("message", message="again", ref=f"r{number}")
        frame = again.expect("message", ref=f"r{number}")
        assert (frame["again"], frame["message"]) == (True, str(number))
    again.send_frame("message", message="new", ref="r75")
    assert "again" not in again.expect("message", ref="r75")


def test_strangers_do_not_make_a_user_forget(start_server: StartServer, connect: Connect) -> None:
    # Given a user, two others that have sent it something and have left, and its answer to one of them
    server = start_server(*QUICK, "--store", "memory")
    ann, bob = connect(server, "ann"), connect(server, "bob")
    code = bob.say("the code is 4711", to=ann.username)
    other = connect(server, "cid")
    answered = other.say("hello", to=ann.username)["room"]
    ann.say("hello", room=answered)
    for peer in (bob, other):
        peer.send_frame("quit")
        peer.expect_bye()
    # When a thousand strangers say hi and leave
    for number in range(1010):
        with NdjsonPeer(server.port) as stranger:
            stranger.hello("stranger", rooms=[])
            stranger.send_frame("message", message="hi", to=ann.username)
            stranger.send_frame("quit")
            stranger.expect_bye()
        if number % 50 == 0:
            ann.frames_so_far()
    # Then both can be read
    page = ann.ask("history", room=code["room"])
    assert [one["message"] for one in page["messages"]] == ["the code is 4711"]
    assert len(ann.ask("history", room=answered)["messages"]) == 2
    assert connect(server, "eve").expect_refusal("history", room=code["room"]) == "forbidden"


def test_strangers_of_one_address_begin_a_bounded_number_of_conversations(
    start_server: StartServer, connect: Connect
) -> None:
    server = start_server(*QUICK, "--store", "memory", "--limit-loopback", "--rate-conversations", "50")
    ann, bob = connect(server, "ann"), connect(server, "bob")
    answers = []
    for _ in range(12):
        stranger = connect(server, "stranger")
        answers.append(stranger.ask("message", message="hi", to=ann.username))
        stranger.send_frame("quit")
        stranger.expect_bye()
    assert [one.get("code", one["type"]) for one in answers] == ["message"] * 5 + ["rate_limited"] * 7
    assert 0 < answers[-1]["retry_after"] <= 720
    bob.say("others are not concerned", to=connect(server, "cid").username)
