from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_server.core.base.limits import Limits
from chat_server.core.chat.presence import LARGE_ROOM_MEMBERS

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_welcome_is_the_first_frame_with_the_positions(stage: Stage) -> None:
    ann = stage.enter("ann", "lobby", "Garden")
    ann.send_message("hi")
    stage.commit()
    bob = stage.connect()
    bob.execute(commands.Hello(username="Bob", rooms=["garden", "lobby", "lobby"], ref="h"))
    welcome = bob.receive_one("welcome")
    assert welcome["rooms"] == [
        {"room": "Garden", "seq": 0, "count": 2},
        {"room": "lobby", "seq": 1, "count": 2},
    ]
    assert (welcome["username"], welcome["id"], welcome["ref"]) == ("Bob", bob.id, "h")
    assert (welcome["protocol"], welcome["resumed"], welcome["epoch"]) == (1, False, stage.store.epoch)
    assert welcome["ping_interval"] == 30
    assert "session" not in welcome
    ann.send_message("next")
    stage.commit()
    assert bob.receive_one("message")["seq"] == 2


def test_messages_being_committed_come_after_the_welcome(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message("under way")
    bob = stage.connect()
    bob.execute(commands.Hello(username="bob", resumable=True))  # waits for the store, and so for the message
    cid = stage.enter("cid")
    ann.send_message("next")
    stage.commit()
    welcome, message = bob.receive()
    assert (welcome["type"], welcome["rooms"][0]["seq"]) == ("welcome", 1)
    assert message["seq"] == 2
    assert cid.receive_one("message")["seq"] == 2


def test_hello_without_rooms_joins_the_lobby_and_with_none_no_room(stage: Stage) -> None:
    assert list(stage.enter("ann").session.memberships) == ["lobby"]
    bob = stage.connect()
    bob.execute(commands.Hello(username="bob", rooms=[]))
    assert bob.receive_one("welcome")["rooms"] == []


def test_hello_sent_twice_is_refused(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.execute(commands.Hello(username="zoe"))
    assert ann.receive_one("error")["code"] == "already_named"
    assert ann.name == "ann"


@pytest.mark.parametrize(
    ("rooms", "code"), [(["ok", "no good"], "name_invalid"), (["@a,b"], "name_invalid"), (["a"] * 3, None)]
)
def test_hello_refused_leaves_no_state(stage: Stage, rooms: list[str], code: str | None) -> None:
    peer = stage.connect()
    peer.execute(commands.Hello(username="ann", rooms=rooms))
    if code is None:
        assert peer.receive_one("welcome")
        return
    assert peer.receive_one("error")["code"] == code
    assert not stage.hub.directory
    assert not stage.hub.rooms
    stage.check()


def test_hello_with_too_many_rooms_is_refused(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=0, max_rooms=2))
    peer = stage.connect()
    peer.execute(commands.Hello(username="ann", rooms=["a", "b", "c"]))
    assert peer.receive_one("error")["code"] == "too_many"
    peer.execute(commands.Hello(username="ann", rooms=["a", "b"]))
    assert peer.receive_one("welcome")
    peer.execute(commands.Join(room="c"))
    assert peer.receive_one("error")["code"] == "too_many"
    peer.execute(commands.Join(room="a"))  # is no new one
    assert peer.receive_one("joined")
    other = stage.enter("bob", "a")
    other.send_message(to="ann")  # a conversation does not count
    stage.commit()
    assert peer.messages("@ann,bob")
    stage.check()


def test_hello_with_rooms_that_do_not_fit_into_welcome_joins_all(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=0, max_rooms=0))
    peer = stage.connect()
    peer.execute(commands.Hello(username="ann", rooms=[f"{number:04}" + "é" * 28 for number in range(900)]))
    assert len(peer.outbox.data) < 65_536
    welcome = peer.receive_one("welcome")
    assert welcome["more"]
    assert welcome["after"] == welcome["rooms"][-1]["room"]
    assert len(peer.session.memberships) == 900


# Sessions that may be resumed


def test_secret_is_sent_after_its_hash_is_stored(stage: Stage) -> None:
    peer = stage.connect()
    stored: list[bytes] = []

    def look() -> None:
        assert not peer.lines

    stage.during_wait.append(look)
    peer.execute(commands.Hello(username="ann", resumable=True))
    secret = peer.receive_one("welcome")["session"]
    (changes,) = stage.store.changes
    (record,) = changes.sessions
    stored.append(record.secret_hash)
    assert stored == [hashlib.sha256(secret.encode()).digest()]
    assert (record.id, record.identity, record.name) == (peer.id, peer.session.identity.id, "ann")
    assert len(secret) * 6 >= 128
    peer.send_message()
    stage.commit()
    assert not stage.store.changes[1].identities  # it is stored already
    stage.check()


def test_name_is_reserved_while_the_session_is_being_stored(stage: Stage) -> None:
    ann, other = stage.connect(), stage.connect()
    stage.during_wait.append(lambda: other.execute(commands.Hello(username="ANN")))
    ann.execute(commands.Hello(username="ann", resumable=True))
    assert ann.receive_one("welcome")
    assert other.receive_one("error")["code"] == "name_taken"


def test_session_that_cannot_be_stored_leaves_no_state(stage: Stage) -> None:
    stage.store.failing = "full"
    ann = stage.connect()
    ann.execute(commands.Hello(username="ann", resumable=True, ref="1"))
    error = ann.receive_one("error")
    assert (error["code"], error["ref"]) == ("unavailable", "1")
    assert not stage.hub.directory
    assert not stage.hub.rooms
    stage.store.failing = None
    ann.execute(commands.Hello(username="ann"))
    assert "session" not in ann.receive_one("welcome")
    assert ann.session.record is None
    ann.send_message()
    stage.commit()
    (changes,) = stage.store.changes
    assert [identity.id for identity in changes.identities] == [ann.session.identity.id]
    stage.check()


def test_session_cut_while_being_stored_is_not_opened(stage: Stage) -> None:
    ann = stage.connect()
    stage.during_wait.append(ann.disconnect)
    ann.execute(commands.Hello(username="ann", resumable=True))
    assert not stage.hub.sessions
    assert not stage.hub.directory
    stage.check()


def test_resume_of_another_epoch_opens_a_new_session(stage: Stage) -> None:
    ann = stage.connect()
    ann.execute(commands.Hello(username="ann", resume=commands.Resume(session="unknown")))
    welcome = ann.receive_one("welcome")
    assert welcome["resumed"] is False
    assert welcome["session"]


# Guests


def test_guest_arrives_in_the_lobby_with_the_last_messages(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(12):
        ann.send_message(f"number {number}")
    stage.commit()
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    text = guest.outbox.data.decode()
    assert "number 2\n" in text
    assert "number 1\n" not in text
    guest.send_message("me too")
    stage.commit()
    assert ann.messages()[-1]["username"] == guest.name
    assert guest.outbox.data.decode().endswith("me too\n")
    guest.execute(commands.Arrive())  # once is enough
    stage.check()


def test_guest_arrives_although_the_store_is_unreadable(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message()
    stage.commit()
    ann.disconnect()
    stage.store.unreadable = True
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    assert guest.name in stage.hub.directory
    guest.send_message()
    stage.commit()
    assert b"hi\n" in guest.outbox.data


def test_help_is_sent_to_guests(stage: Stage) -> None:
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    guest.execute(commands.Help())
    assert b"/nick NAME" in guest.outbox.data


# Other names


def test_rename_is_sent_once_to_each_peer(stage: Stage) -> None:
    ann = stage.enter("ann", "a", "b")
    bob = stage.enter("bob", "a", "b")
    far = stage.enter("far", "c")
    ann.send_message(to="bob")
    stage.commit()
    bob.receive()
    ann.receive()
    ann.execute(commands.Rename(username="Zoe", ref="r"))
    renamed = {"type": "renamed", "from": ann.id, "old": "ann", "username": "Zoe"}
    assert bob.receive_one("renamed") == renamed
    assert ann.receive_one("renamed") == renamed | {"ref": "r"}
    assert not far.receive()
    assert set(stage.hub.directory) == {"zoe", "bob", "far"}
    stage.check()


def test_rename_comes_after_messages_under_the_old_name(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(ref="1")
    ann.execute(commands.Rename(username="zoe"))
    ann.send_message(ref="2")
    stage.commit()
    assert [(frame["type"], frame["username"]) for frame in bob.receive()] == [
        ("message", "ann"),
        ("renamed", "zoe"),
        ("message", "zoe"),
    ]


def test_rename_to_another_spelling_is_accepted(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.execute(commands.Rename(username="Ann"))
    assert ann.receive_one("renamed")["username"] == "Ann"
    assert stage.hub.directory.require_user("ann").name == "Ann"
    stage.check()


@pytest.mark.parametrize(
    ("name", "code"), [("BOB", "name_taken"), ("server", "name_invalid"), ("a b", "name_invalid")]
)
def test_rename_refused_changes_nothing(stage: Stage, name: str, code: str) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Rename(username=name, ref="r"))
    error = ann.receive_one("error")
    assert (error["code"], error["ref"]) == (code, "r")
    assert not bob.receive()
    assert stage.hub.directory.require_user("ann") is ann.session.identity
    stage.check()


def test_rename_to_a_name_taken_meanwhile_is_refused(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message()
    other = stage.connect()
    stage.during_wait.append(lambda: other.execute(commands.Hello(username="zoe")))
    ann.execute(commands.Rename(username="zoe"))
    assert ann.receive("error")[0]["code"] == "name_taken"
    assert ann.name == "ann"
    stage.check()


def test_rename_is_not_sent_to_large_rooms(stage: Stage) -> None:
    crowd = [stage.enter(f"n{number}", "big") for number in range(LARGE_ROOM_MEMBERS)]
    ann = stage.enter("ann", "big", "small")
    bob = stage.enter("bob", "small")
    ann.execute(commands.Rename(username="zoe"))
    assert bob.receive_one("renamed")
    assert not any(peer.receive() for peer in crowd)


# Leaving


def test_quit_waits_for_own_messages(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message(ref="1")
    ann.execute(commands.Quit(ref="q"))
    assert ann.receive_one("message")["ref"] == "1"
    assert (ann.link.ended, ann.link.bye_ref) == ("quit", "q")


def test_disconnect_waits_for_own_messages(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(ref="1")
    ann.disconnect()
    assert ann.receive_one("message")["ref"] == "1"
    assert bob.receive_one("message")["ref"] == "1"
    stage.check()


def test_rename_to_the_same_name_is_not_sent_to_peers(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    stage.commit()
    bob.receive()
    ann.execute(commands.Rename(username="ann", ref="r"))
    assert ann.receive_one("renamed")["ref"] == "r"
    assert not bob.receive("renamed")


def test_hello_that_fails_by_a_bug_frees_the_name(stage: Stage) -> None:
    ann = stage.connect()

    def wait(_: object) -> None:
        raise RuntimeError("a bug")

    ann.link.wait = wait  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError):
        ann.execute(commands.Hello(username="ann", resumable=True))
    stage.commit()
    assert stage.enter("ann").name == "ann"
