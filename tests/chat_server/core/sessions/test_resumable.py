"""Seats: whose name is held after a cut, for how long, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from chat_protocol import commands
from chat_server.core.base.limits import Limits

if TYPE_CHECKING:
    from chat_server.core.conftest import Peer, Stage

NO_RATES = Limits(rate_messages=0, rate_bytes=0)


def cut(peer: Peer, site: str = "") -> dict[str, Any]:
    """Lose the connection; return the welcome of the session."""
    peer.link.address_key = site
    peer.outbox.closed = True
    peer.disconnect()
    return next(frame for frame in peer.frames if frame["type"] == "welcome")


def back(stage: Stage, welcome: dict[str, Any]) -> dict[str, Any]:
    """Try to come back; return the first frame."""
    peer = stage.connect()
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={"lobby": 0})
    peer.execute(commands.Hello(username=welcome["username"], resumable=True, resume=resume))
    return peer.frames[0]


def expire(stage: Stage, seconds: float) -> None:
    """Let time pass; the store hears of an end a moment before everybody else does."""
    for pause in (seconds, 1.0):
        stage.clock.advance(pause)
        stage.hub.resumable.tick()


def test_a_seat_is_held_for_its_time_and_not_longer(stage: Stage) -> None:
    first = cut(stage.enter("ann", resumable=True))
    stage.clock.advance(299)
    stage.hub.resumable.tick()
    assert back(stage, first)["resumed"] is True
    second = cut(stage.enter("bob", resumable=True))
    expire(stage, 301)
    assert back(stage, second)["resumed"] is False


def test_a_seat_that_is_held_takes_no_place_in_its_rooms(stage: Stage) -> None:
    bob = stage.enter("bob")
    cut(stage.enter("ann", resumable=True))
    assert len(stage.hub.rooms["lobby"].members) == 1
    bob.execute(commands.Who())
    assert [user["username"] for user in bob.receive("who")[0]["users"]] == ["bob"]
    assert stage.hub.resumable.held_count == 1


def test_who_never_got_the_welcome_is_not_held(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    ann.outbox.acked = 10  # bytes, as far as the kernel knows
    cut(ann)
    assert stage.enter("ann").name == "ann"


def test_too_many_are_held_for_less_long(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=2))
    welcomes = [cut(stage.enter(name, resumable=True)) for name in ("ann", "bob", "cid")]
    expire(stage, 0)
    assert [back(stage, welcome)["resumed"] for welcome in welcomes] == [False, True, True]


def test_an_address_drives_out_its_own_only(make_stage: type[Stage]) -> None:
    # Given somebody who is held, and an address that comes and goes
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=4, max_held_per_address=2))
    honest = cut(stage.enter("ann", resumable=True), "192.0.2.1")
    strangers = [cut(stage.enter(f"stranger{number}", resumable=True), "198.51.100.7") for number in range(9)]

    # Then it loses its own oldest, and nobody else loses anything
    expire(stage, 0)
    assert stage.hub.resumable.held_count == 3
    assert back(stage, honest)["resumed"] is True
    assert [back(stage, welcome)["resumed"] for welcome in strangers] == [False] * 7 + [True] * 2
    assert stage.hub.resumable.held_count == 0
    assert not stage.hub.resumable._by_address


def test_a_new_name_is_held_and_the_old_one_free(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    ann.execute(commands.Rename(username="anna"))
    welcome = cut(ann)
    assert stage.enter("ann").name == "ann"
    again = back(stage, welcome)
    assert (again["resumed"], again["username"]) == (True, "anna")


def test_who_is_kicked_while_away_is_out(stage: Stage) -> None:
    welcome = cut(stage.enter("ann", resumable=True))
    stage.hub.kick(stage.hub.directory["ann"])
    assert back(stage, welcome)["code"] == "forbidden"


def test_when_a_held_name_is_given_up_its_conversations_end(stage: Stage) -> None:
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    bob.send_message(to="ann")
    stage.commit()
    cut(ann)
    assert not bob.receive("closed")
    expire(stage, 301)
    assert bob.receive_one("closed")["by"] == "ann"
    stage.check()
