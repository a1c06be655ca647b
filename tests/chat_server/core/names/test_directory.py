"""Directory: names in all their spellings, and when they are free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_protocol.errors import Refused
from chat_server.core.names.directory import KICKED_NAME_BLOCKED_S

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_name_taken_in_another_spelling_is_refused(stage: Stage) -> None:
    stage.enter("Straße")
    other = stage.connect()
    for name in ("Straße", "STRASSE", "straße"):
        other.execute(commands.Hello(username=name))
        assert other.receive_one("error")["code"] == "name_taken"
    assert len(stage.hub.directory) == 1
    assert stage.hub.directory.require_user("STRASSE").name == "Straße"


@pytest.mark.parametrize("name", ["server", "SERVER", "guest-abcd", "Guest-x", "@a", "a b", "", "x" * 33])
def test_name_invalid_or_reserved_is_refused(stage: Stage, name: str) -> None:
    peer = stage.connect()
    peer.execute(commands.Hello(username=name, ref="1"))
    error = peer.receive_one("error")
    assert (error["code"], error["ref"]) == ("name_invalid", "1")
    assert not stage.hub.directory


def test_name_of_a_user_that_left_is_free(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.disconnect()
    again = stage.enter("ann")
    assert again.id != ann.id
    again.disconnect()
    stage.check()
    assert not stage.hub.directory
    assert not stage.hub.rooms


def test_disconnect_twice_has_no_further_effect(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.disconnect()
    stage.enter("ann")
    stage.hub.lifecycle.disconnect(ann.session)
    assert "ann" in stage.hub.directory
    stage.check()


def test_kicked_name_is_blocked_for_a_while(stage: Stage) -> None:
    bob, ann = stage.enter("Bob"), stage.enter("ann")
    stage.hub.lifecycle.kick(bob.session.identity)
    assert bob.link.ended == "kicked"
    bob.disconnect()
    again = stage.connect()
    again.execute(commands.Hello(username="bob"))
    error = again.receive_one("error")
    assert error["code"] == "forbidden"
    assert error["retry_after"] == KICKED_NAME_BLOCKED_S
    ann.execute(commands.Rename(username="BOB"))
    assert ann.receive("error")[0]["code"] == "forbidden"
    assert stage.hub.directory.require_user("ann")
    stage.clock.advance(KICKED_NAME_BLOCKED_S)
    again.execute(commands.Hello(username="bob"))
    assert again.receive_one("welcome")
    assert not stage.hub.directory._blocked_until
    stage.check()


def test_kicked_names_are_dropped_after_their_time(stage: Stage) -> None:
    for number in range(50):
        peer = stage.enter(f"n{number}")
        stage.hub.lifecycle.kick(peer.session.identity)
        peer.disconnect()
        stage.clock.advance(KICKED_NAME_BLOCKED_S / 2)
    assert len(stage.hub.directory._blocked_until) <= 3


def test_guests_get_different_names(stage: Stage) -> None:
    guests = [stage.connect(PLAIN_TEXT) for _ in range(50)]
    for guest in guests:
        guest.execute(commands.Arrive())
    assert len(stage.hub.directory) == 50
    assert all(guest.name.startswith("guest-") and len(guest.name) == 10 for guest in guests)
    stage.check()


def test_require_user_ignores_sessions_without_hello(stage: Stage) -> None:
    ann = stage.enter("ann")
    with pytest.raises(Refused):
        stage.hub.directory.require_user("bob")
    coming = stage.connect()
    stage.during_wait.append(lambda: ann.send_message(to="bob", ref="1"))
    coming.execute(commands.Hello(username="bob", resumable=True))
    assert ann.receive()[0]["code"] == "no_such_user"
    assert coming.receive_one("welcome")
    stage.check()


def test_name_of_a_held_session_is_refused_with_the_time_until_it_is_free(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    other = stage.connect()
    other.execute(commands.Hello(username="ann"))
    error = other.receive_one("error")
    assert (error["message"], error.get("retry_after")) == ("the name ann is taken; choose another", None)
    ann.outbox.closed = True
    ann.disconnect()
    for seconds, free_in in ((0.0, "5 min"), (100.0, "4 min"), (140.0, "60 s")):
        stage.clock.advance(seconds)
        other.execute(commands.Hello(username="ANN"))
        error = other.receive_one("error")
        assert error["code"] == "name_taken"
        assert f"is held for a session that was cut off, and free in {free_in};" in error["message"]
    assert error["retry_after"] == 60.0
    bob = stage.enter("bob")
    bob.execute(commands.Rename(username="ann"))
    assert bob.receive_one("error")["retry_after"] == 60.0
