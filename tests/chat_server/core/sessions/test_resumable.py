"""Resumable sessions: which are held after a lost connection, for how long, and how many."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from chat_protocol import commands
from chat_server.core.base.limits import Limits
from support.engines.kinds import open_sqlite

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

NO_RATES = Limits(rate_messages=0, rate_bytes=0)


def cut(peer: Peer, address_key: str = "") -> dict[str, Any]:
    """Lose the connection; return the welcome of the session."""
    peer.link.address_key = address_key
    peer.outbox.closed = True
    peer.disconnect()
    return next(frame for frame in peer.frames if frame["type"] == "welcome")


def back(stage: Stage, welcome: dict[str, Any]) -> dict[str, Any]:
    """Try to resume; return the first frame."""
    peer = stage.connect()
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={"lobby": 0})
    peer.execute(commands.Hello(username=welcome["username"], resumable=True, resume=resume))
    return peer.frames[0]


def expire(stage: Stage, seconds: float) -> None:
    """Let time pass; the store commits the end of a session shortly before others see it."""
    for pause in (seconds, 1.0):
        stage.clock.advance(pause)
        stage.hub.resumable.tick()


def test_held_session_expires_after_the_hold_time(stage: Stage) -> None:
    first = cut(stage.enter("ann", resumable=True))
    stage.clock.advance(299)
    stage.hub.resumable.tick()
    assert back(stage, first)["resumed"] is True
    second = cut(stage.enter("bob", resumable=True))
    expire(stage, 301)
    assert back(stage, second)["resumed"] is False


def test_held_session_is_not_a_member_of_public_rooms(stage: Stage) -> None:
    bob = stage.enter("bob")
    cut(stage.enter("ann", resumable=True))
    assert len(stage.hub.rooms["lobby"].members) == 1
    bob.execute(commands.Who())
    assert [user["username"] for user in bob.receive("who")[0]["users"]] == ["bob"]
    assert stage.hub.resumable.held_count == 1


def test_session_without_welcome_is_not_held(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    ann.outbox.acked = 10  # bytes, as far as the kernel knows
    cut(ann)
    assert stage.enter("ann").name == "ann"


def test_held_sessions_above_the_bound_expire_early(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=2))
    welcomes = [cut(stage.enter(name, resumable=True)) for name in ("ann", "bob", "cid")]
    expire(stage, 0)
    assert [back(stage, welcome)["resumed"] for welcome in welcomes] == [False, True, True]


def test_held_sessions_of_an_address_evict_its_own_only(make_stage: type[Stage]) -> None:
    # Given a held session, and an address that reconnects again and again
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=4, max_held_per_address=2))
    honest = cut(stage.enter("ann", resumable=True), "192.0.2.1")
    strangers = [cut(stage.enter(f"stranger{number}", resumable=True), "198.51.100.7") for number in range(9)]

    # Then that address loses its own oldest session, and no other does
    expire(stage, 0)
    assert stage.hub.resumable.held_count == 3
    assert back(stage, honest)["resumed"] is True
    assert [back(stage, welcome)["resumed"] for welcome in strangers] == [False] * 7 + [True] * 2
    assert stage.hub.resumable.held_count == 0
    assert not stage.hub.resumable._by_address


def test_above_the_bound_for_all_the_address_that_has_most_loses_its_oldest(make_stage: type[Stage]) -> None:
    # Given honest sessions, then those of two addresses that reconnect again and again
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=8, max_held_per_address=4))
    honest = [cut(stage.enter(f"h{number}", resumable=True), f"192.0.2.{number}") for number in range(3)]
    strangers = [
        cut(stage.enter(f"s{number}", resumable=True), f"198.51.100.{number % 2}") for number in range(20)
    ]
    assert stage.hub.resumable.held_count == 3 + 20  # some are expiring already
    expire(stage, 0)
    assert stage.hub.resumable.held_count == 8
    assert all(back(stage, welcome)["resumed"] for welcome in honest)
    resumed = [back(stage, welcome)["resumed"] for welcome in strangers]
    assert resumed == [False] * 15 + [True] * 5
    assert stage.hub.resumable.held_count == 0
    assert not stage.hub.resumable._by_address
    assert not stage.hub.resumable._by_size


def test_held_session_keeps_few_refs_and_reads_many_from_the_store(
    make_stage: type[Stage], tmp_path: Path
) -> None:
    # Given a resumable user that has used many refs, some of them just now, and one that has used few
    for store in (None, open_sqlite(tmp_path / "db")):
        stage = make_stage(store=store)
        ann, bob = stage.enter("ann", resumable=True), stage.enter("bob", resumable=True)
        for number in range(1100):
            ann.send_message(f"text {number}", ref=f"r{number}")
        bob.send_message("text", ref="r")
        stage.commit()
        stage.store.maintain()
        for number in range(1100, 1200):  # the index does not have these yet
            ann.send_message(f"text {number}", ref=f"r{number}")
        stage.commit()
        # When they are held
        welcomes = cut(ann), cut(bob)
        assert ann.session.refs is None
        assert len(bob.session.refs or ()) == 1
        # Then they are recognised when the session is back: the last 1,024, and no others
        for welcome, refs in zip(welcomes, ([f"r{number}" for number in range(1200)], ["r"]), strict=True):
            peer = stage.connect()
            resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={})
            peer.execute(commands.Hello(username="x", resume=resume))
            assert len(peer.session.refs or ()) == min(len(refs), 1024)
            for ref in refs[-1024:][:: len(refs) // 60 + 1]:
                peer.receive()
                peer.send_message("another text", ref=ref)
                (again,) = peer.receive()
                assert (again["again"], again["ref"]) == (True, ref)
                assert again["message"] == f"text {ref[1:]}".rstrip()
            peer.send_message("new", ref="r0" if len(refs) > 1 else "s")
            stage.commit()
            assert not [one for one in peer.receive() if "again" in one]
        stage.check()
        stage.store.close()


def test_refs_of_a_held_session_are_bounded_in_bytes(stage: Stage) -> None:
    """Those of a connected one, too: a few bytes each, however long they are."""
    ann = stage.enter("ann", resumable=True)
    for number in range(3000):
        ann.send_message(ref="\N{GRINNING FACE}" * 58 + f"{number:06}")
    stage.commit()
    refs = ann.session.refs
    assert refs
    assert len(refs) == 1024
    size = sys.getsizeof(refs) + sum(sys.getsizeof(key) + sys.getsizeof(refs[key]) for key in refs)
    assert size < 160 * 1024
    cut(ann)
    assert ann.session.refs is None


def test_resume_that_cannot_read_the_refs_is_unavailable(make_stage: type[Stage], tmp_path: Path) -> None:
    """Else a message that is sent again would be stored twice."""
    store = open_sqlite(tmp_path / "db")
    stage = make_stage(store=store)
    ann = stage.enter("ann", resumable=True)
    for number in range(20):
        ann.send_message(ref=str(number))
    stage.commit()
    welcome = cut(ann)
    with closing(sqlite3.connect(f"{tmp_path}/db-index", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert back(stage, welcome)["code"] == "unavailable"
    assert back(stage, welcome)["resumed"] is True
    store.close()


def test_held_session_after_a_rename_holds_the_new_name(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    ann.execute(commands.Rename(username="anna"))
    welcome = cut(ann)
    assert stage.enter("ann").name == "ann"
    again = back(stage, welcome)
    assert (again["resumed"], again["username"]) == (True, "anna")


def test_held_session_that_is_kicked_is_closed(stage: Stage) -> None:
    welcome = cut(stage.enter("ann", resumable=True))
    stage.hub.lifecycle.kick(stage.hub.directory["ann"])
    assert back(stage, welcome)["code"] == "forbidden"


def test_held_session_that_expires_closes_its_conversations(stage: Stage) -> None:
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    bob.send_message(to="ann")
    stage.commit()
    cut(ann)
    assert not bob.receive("closed")
    expire(stage, 301)
    assert bob.receive_one("closed")["by"] == "ann"
    stage.check()
