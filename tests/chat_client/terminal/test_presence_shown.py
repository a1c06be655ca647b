"""Comings and goings: of those that the user has seen, and does not ignore."""

from typing import Any

from chat_client import Client
from chat_protocol.commands import Who
from chat_protocol.events import Presence, RoomState, User, UserList
from support.fakes.fake_server import make_message, make_welcome

ENTER = "\r"
LOBBY = RoomState("lobby", 0, 3)


def presence(*, joined: list[str] | None = None, left: list[str] | None = None) -> Presence:
    return Presence(room="lobby", count=3, joined=joined or [], left=left or [])


def test_leave_is_shown_of_users_that_were_known_to_be_there(fake_server: Any, terminal: Any) -> None:
    server = fake_server(make_welcome(LOBBY))
    ann = terminal("--server", server.address, "--username", "ann", rows=50)
    ann.see("lobby> ")
    connection = server.next_connection()
    users = [User("ann", None, 0.0), User("old", 1.5, 0.0)]
    ref = connection.next_command(Who).ref  # on entering the room
    connection.send(UserList(users=users, more=False, room="lobby", ref=ref))
    connection.send(make_message(1, sender="said", message="hi"))
    ann.see("said: hi")
    connection.send(presence(joined=["new"]), presence(left=["script", "NEW", "said", "old"]))
    connection.send(presence(left=["new", "old"]), presence(joined=["last"]))
    ann.see("last joined lobby")
    assert "new joined lobby" in ann.screen
    for name in ("NEW", "said", "old"):
        assert sum(f"{name}" in line and "left" in line for line in ann.lines) == 1
    assert "script" not in ann.raw


def test_ignored_users_come_go_and_rename_unseen(server: Any, terminal: Any) -> None:
    ann = terminal("--server", server.address, "--username", "ign-ann", "--room", "ign")
    ann.see("ign> ")
    ann.type("/ignore ign-bob" + ENTER)
    ann.see("messages of ign-bob are hidden")
    with Client("ign-bob", server.address, rooms=["ign"]) as bob:
        bob.say("unheard", "ign")
        bob.say("unheard too", to="ign-ann")
        bob.rename("ign-rob")
        bob.say("unheard again", "ign")
    with Client("ign-cy", server.address, rooms=["ign"]) as cy:
        cy.say("heard", "ign")
        ann.see("heard", "ign-cy joined ign")
    ann.see("ign-cy left ign")
    for line in ann.lines:
        assert not ({"bob", "rob"} & set(line.replace("-", " ").split())) or "/ignore" in line, line
