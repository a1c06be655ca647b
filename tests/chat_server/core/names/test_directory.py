"""Names: whose they are, in all their spellings, and when they are free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.base import PLAIN_TEXT
from chat_protocol.errors import Refused
from chat_server.core.names.directory import KICKED_FOR

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def test_a_name_is_one_persons_however_it_is_written(stage: Stage) -> None:
    stage.enter("Straße")
    other = stage.connect()
    for name in ("Straße", "STRASSE", "straße"):
        other.does(commands.Hello(username=name))
        assert other.one("error")["code"] == "name_taken"
    assert len(stage.hub.names) == 1
    assert stage.hub.names.user("STRASSE").name == "Straße"


@pytest.mark.parametrize("name", ["server", "SERVER", "guest-abcd", "Guest-x", "@a", "a b", "", "x" * 33])
def test_some_names_are_nobodys(stage: Stage, name: str) -> None:
    peer = stage.connect()
    peer.does(commands.Hello(username=name, ref="1"))
    error = peer.one("error")
    assert (error["code"], error["ref"]) == ("name_invalid", "1")
    assert not stage.hub.names


def test_a_name_is_free_when_its_bearer_has_gone(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.goes()
    again = stage.enter("ann")
    assert again.id != ann.id
    again.goes()
    stage.check()
    assert not stage.hub.names
    assert not stage.hub.rooms


def test_to_depart_twice_is_to_depart_once(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.goes()
    stage.enter("ann")
    stage.hub.depart(ann.session)
    assert "ann" in stage.hub.names
    stage.check()


def test_who_is_kicked_stays_out_for_a_while(stage: Stage) -> None:
    bob, ann = stage.enter("Bob"), stage.enter("ann")
    stage.hub.kick(bob.session)
    assert bob.link.ended == "kicked"
    bob.goes()
    again = stage.connect()
    again.does(commands.Hello(username="bob"))
    error = again.one("error")
    assert error["code"] == "forbidden"
    assert error["retry_after"] == KICKED_FOR
    ann.does(commands.Rename(username="BOB"))
    assert ann.take("error")[0]["code"] == "forbidden"
    assert stage.hub.names.user("ann")
    stage.clock.advance(KICKED_FOR)
    again.does(commands.Hello(username="bob"))
    assert again.one("welcome")
    assert not stage.hub.names._kicked
    stage.check()


def test_the_names_of_the_kicked_are_not_kept_for_ever(stage: Stage) -> None:
    for number in range(50):
        peer = stage.enter(f"n{number}")
        stage.hub.kick(peer.session)
        peer.goes()
        stage.clock.advance(KICKED_FOR / 2)
    assert len(stage.hub.names._kicked) <= 3


def test_guests_get_names_of_their_own(stage: Stage) -> None:
    guests = [stage.connect(PLAIN_TEXT) for _ in range(50)]
    for guest in guests:
        guest.does(commands.Arrive())
    assert len(stage.hub.names) == 50
    assert all(guest.name.startswith("guest-") and len(guest.name) == 10 for guest in guests)
    stage.check()


def test_user_finds_only_who_has_come_in(stage: Stage) -> None:
    ann = stage.enter("ann")
    with pytest.raises(Refused):
        stage.hub.names.user("bob")
    coming = stage.connect()
    stage.meanwhile.append(lambda: ann.says(to="bob", ref="1"))
    coming.does(commands.Hello(username="bob", resumable=True))
    assert ann.take()[0]["code"] == "no_such_user"
    assert coming.one("welcome")
    stage.check()
