"""What strangers may do to a user by writing to it: bury no conversation, and take little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from chat_protocol import commands
from chat_server.core.base.limits import Limits
from chat_server.core.chat import conversations
from support.core_stage.moves import (
    close_with,
    come_back,
    cut,
    fill_outbox,
    read_again,
    say_hi_and_leave,
    send_to,
)

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

NO_RATES = Limits(rate_messages=0, rate_bytes=0)


def history(peer: Peer, room: str) -> list[str] | str:
    """Return the messages of a room, or why it cannot be read."""
    peer.receive()
    peer.execute(commands.History(room=room))
    (answer,) = peer.receive()
    return [one["message"] for one in answer["messages"]] if "messages" in answer else str(answer["code"])


def kept(stage: Stage) -> set[str]:
    return {*stage.hub.conversations.by_name}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "CONVERSATIONS_KEPT", 4)


def test_conversations_in_which_nothing_was_answered_are_dropped_first(stage: Stage) -> None:
    # Given a user that has conversed with two others, which have left
    ann = stage.enter("ann")
    for name in ("bob", "cid"):
        other = stage.enter(name)
        send_to(stage, other, "ann")
        send_to(stage, ann, name)
        other.disconnect()
    # When strangers say hi, more than are kept
    say_hi_and_leave(stage, "s1", "s2", "s3", "s4")
    # Then the oldest of these are dropped, and not what was a conversation
    assert kept(stage) == {"@ann,bob", "@ann,cid", "@ann,s3", "@ann,s4"}
    for name in ("dan", "eve", "fay"):  # and if there are too many of those, the oldest
        other = stage.enter(name)
        send_to(stage, ann, name)
        other.disconnect()
    assert kept(stage) == {"@ann,cid", "@ann,dan", "@ann,eve", "@ann,fay"}
    stage.check()


def test_what_was_dropped_can_still_be_read(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(10):
        name = f"s{number}"
        stranger = stage.enter(name)
        for text in ("hi", name):
            stranger.send_message(text, to="ann")
        stage.commit()
        stranger.disconnect()
    assert len(kept(stage)) == 4
    for number in range(10):
        assert history(ann, f"@ANN,s{number}") == ["hi", f"s{number}"]
    ann.receive()
    ann.execute(commands.History(room="@ann,s0", limit=1))
    page = ann.receive_one("history")
    assert (page["more"], page["before"], page["messages"][0]["seq"]) == (True, 2, 2)
    # Only by its user, and not under a name that was passed on
    eve, second = stage.enter("eve"), stage.enter("s0")
    for peer, room in ((eve, "@ann,s0"), (second, "@ann,s0"), (ann, "@ann,s0#2"), (ann, "@nobody,ann")):
        assert history(peer, room) == "forbidden"
    assert len(kept(stage)) == 4  # reading keeps nothing
    stage.store.unreadable = True
    assert history(ann, "@ann,s1") == "unavailable"
    stage.check()


def test_closed_conversation_of_a_user_that_is_here_is_not_dropped(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    send_to(stage, bob, "ann")
    close_with(bob, "ann")
    say_hi_and_leave(stage, *(f"s{number}" for number in range(9)))
    assert "@ann,bob" in kept(stage)
    send_to(stage, bob, "ann")
    assert ann.messages("@ann,bob")[-1]["seq"] == 2
    stage.check()


def test_end_that_is_still_owed_is_not_dropped(stage: Stage) -> None:
    """A user that does not read gets all that strangers said, and the end of each conversation."""
    ann = stage.enter("ann")
    fill_outbox(ann)
    say_hi_and_leave(stage, *(f"s{number}" for number in range(4)))
    late = stage.enter("late")
    late.send_message("hi", to="ann")
    assert late.receive_one("error")["code"] == "too_many"  # so that what is owed is bounded
    read_again(stage, ann)
    assert len([one for one in ann.frames if one["type"] == "closed"]) == 4
    assert len(ann.messages()) == 4
    say_hi_and_leave(stage, "s4", "s5", "s6")
    assert kept(stage) == {"@ann,s3", "@ann,s4", "@ann,s5", "@ann,s6"}
    stage.check()


def test_all_users_together_keep_a_bounded_number(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "DEPARTED_KEPT", 5)
    users = [stage.enter(f"u{number}") for number in range(3)]
    for number in range(3):
        say_hi_and_leave(stage, *(f"s{number}-{each}" for each in range(3)), to=f"u{number}")
    assert len(kept(stage)) == 5
    assert history(users[0], "@s0-0,u0") == ["hi"]
    stage.check()


def test_conversations_in_memory_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MAX_CONVERSATIONS", 2)
    ann = stage.enter("ann")
    for name in ("bob", "cid", "dan"):
        stage.enter(name)
        ann.send_message(to=name)
    stage.commit()
    assert ann.receive("error")[0]["code"] == "too_many"
    ann.execute(commands.Close(peer="bob"))
    assert ann.receive("closed")
    stage.check()


def test_conversations_begun_from_one_address_are_bounded(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, rate_conversations=30))
    users = [stage.enter(name) for name in ("ann", "bob", "cid", "dan", *map(str, range(40)))]

    def write(peer: Peer, to: str) -> dict[str, Any]:
        peer.receive()
        peer.send_message(to=to)
        stage.commit()
        return peer.receive()[0]

    def stranger(number: int, address: str) -> Peer:
        peer = stage.enter(f"s{number}")
        peer.link.address_key = address
        return peer

    # Given strangers of one address, then only a tenth of what the address may begin is with one user
    strangers = [stranger(number, "192.0.2.1") for number in range(4)]
    assert [write(one, "ann")["type"] for one in strangers] == ["opened"] * 3 + ["error"]
    refused = write(strangers[3], "ann")
    assert (refused["code"], refused["retry_after"]) == ("rate_limited", 1200.0)
    assert write(strangers[0], "ann")["type"] == "message"  # goes on
    assert write(stranger(9, "192.0.2.2"), "ann")["type"] == "opened"
    assert write(stranger(10, ""), "ann")["type"] == "opened"  # exempt
    assert write(users[1], "s3")["type"] == "opened"
    assert write(strangers[3], "bob")["type"] == "message"  # the conversation is there
    # And of all users no more than the limit
    answers = [write(strangers[3], str(number)).get("code", "opened") for number in range(40)]
    assert answers == ["opened"] * 27 + ["rate_limited"] * 13
    stage.clock.advance(1200)
    assert write(strangers[3], "ann")["type"] == "opened"


def test_held_user_gets_what_strangers_said(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    say_hi_and_leave(stage, *(f"s{number}" for number in range(4)))
    late = stage.enter("late")
    late.send_message("hi", to="ann")
    assert late.receive_one("error")["code"] == "too_many"
    ann = come_back(stage, ann)
    stage.run_backfill()
    assert len(ann.messages()) == len([one for one in ann.frames if one["type"] == "closed"]) == 4
    stage.check()
