"""The interactive client over a lost connection, with a fake server."""

import signal
from typing import Any

import pytest

from chat_client import Client
from chat_protocol.commands import Who
from chat_protocol.errors import ByeReason
from chat_protocol.events import Bye, Gap, RoomState, User, UserList
from support.fakes.fake_server import make_message, make_welcome

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"
LOBBY = RoomState("lobby", 0, 1)


def test_reconnect_shows_the_missed_messages(start_server: Any, terminal: Any) -> None:
    server = start_server()
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    with Client("bob", server.address) as bob:
        bob.say("before")
        ann.see("bob: before")
    server.kill()
    ann.see("NOT CONNECTED")
    server.start()
    with Client("bob", server.address) as bob:
        for number in range(5):
            bob.say(f"meanwhile {number}")
    ann.see("back after", "meanwhile 0", "meanwhile 4")
    assert ann.screen.count("bob: before") == 1
    assert ann.screen.count("meanwhile 3") == 1


def test_restart_of_the_server_keeps_rooms_and_counts_unread(start_server: Any, terminal: Any) -> None:
    server = start_server()
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    with Client("bob", server.address, rooms=["lobby", "dev"], reconnect=True) as bob:
        ann.type("/join dev" + ENTER)
        ann.see("dev> ")
        ann.type("/join lobby" + ENTER)
        ann.see("lobby> ")
        bob.say("before")
        ann.see("bob: before")
        server.kill()
        ann.see("NOT CONNECTED")
        ann.type("typed while away" + ENTER)
        server.start()
        for text, room in (("one", "lobby"), ("elsewhere", "dev"), ("two", "lobby")):
            bob.say(text, room, timeout=60)
        ann.see("back after", "bob: one", "bob: two", "ann: typed while away", "unread: dev 1")
    assert ann.screen.count("bob: before") == ann.screen.count("bob: two") == 1


def test_very_many_missed_messages_are_shown_in_part(fake_server: Any, terminal: Any) -> None:
    server = fake_server(make_welcome(LOBBY), make_welcome(LOBBY, resumed=True))
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    server.log += [make_message(seq) for seq in range(1, 1501)]
    server.next_connection().break_connection()
    server.next_connection().send(*server.log)
    ann.see("1,500 messages caught up", "the last 20", "bob: 1481", "bob: 1500", "/history shows more")
    assert "bob: 1480" not in ann.raw


def test_gap_is_shown(fake_server: Any, terminal: Any) -> None:
    server = fake_server(make_welcome(LOBBY), make_welcome(LOBBY, resumed=True))
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    server.log.append(make_message(81))
    server.next_connection().break_connection()
    server.next_connection().send(Gap(room="lobby", first=1, last=80), make_message(81))
    ann.see("messages 1 to 80 of lobby are no longer available", "1 message caught up", "bob: 81")


def test_new_session_is_reported(fake_server: Any, terminal: Any) -> None:
    server = fake_server(make_welcome(LOBBY), make_welcome(RoomState("lobby", 2, 1)))
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    server.log += [make_message(1), make_message(2)]
    server.next_connection().break_connection()
    ann.see("back after", "in a new session", "bob: 1", "bob: 2")


def test_app_when_replaced_shows_the_reason(fake_server: Any, terminal: Any) -> None:
    server = fake_server(make_welcome(LOBBY))
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    server.next_connection().send(Bye(reason=ByeReason.REPLACED))
    assert ann.exit_code() == 4
    assert "the session has ended: replaced: the session continues on another connection" in ann.screen


def test_user_list_shows_lagging_users(fake_server: Any, terminal: Any) -> None:
    server = fake_server(make_welcome(LOBBY))
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    ann.type("/who" + ENTER)
    connection = server.next_connection()
    users = [User("ann", None, 0.0), User("bob", 1.5, 0.0, behind=1234)]
    for _ in range(2):  # on entering the room, and as typed
        ref = connection.next_command(Who).ref
        connection.send(UserList(users=users, more=False, room="lobby", ref=ref))
    ann.see("2 in lobby: ann (not measured), bob (1.5 ms, 1,234 messages behind)")


@pytest.mark.parametrize("leave", ["/quit", CTRL_D, CTRL_C * 2, "SIGTERM"], ids=["quit", "d", "c", "term"])
def test_exit_prints_every_unacknowledged_line(fake_server: Any, terminal: Any, leave: str) -> None:
    server = fake_server(make_welcome(LOBBY))  # and no second connection
    ann = terminal("--server", server.address, "--username", "ann", rows=50)
    ann.see("lobby> ")
    server.next_connection().break_connection()
    ann.see("NOT CONNECTED")
    for number in range(25):
        ann.type(f"line {number}." + ENTER)
    ann.see("25 not acknowledged")
    if leave == "SIGTERM":
        ann.interrupt(signal.SIGTERM)
    else:
        ann.type(leave + (ENTER if leave == "/quit" else ""))
    assert ann.exit_code() == 0
    _, _, account = ann.screen.partition(
        "25 lines were not acknowledged by the server and may not have arrived:"
    )
    assert [line.strip() for line in account.splitlines() if line.strip()] == [
        f"line {n}." for n in range(25)
    ]
