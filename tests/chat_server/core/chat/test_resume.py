"""Resuming a session: which connection gets it, what it keeps, and what it must not bring back."""

from __future__ import annotations

import tempfile
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


def welcome_of(peer: Peer) -> dict[str, Any]:
    return next(frame for frame in peer.frames if frame["type"] == "welcome")


def hello(welcome: dict[str, Any], **positions: int) -> commands.Hello:
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms=positions)
    return commands.Hello(username=welcome["username"], resumable=True, resume=resume)


def cut(peer: Peer) -> None:
    peer.outbox.closed = True
    peer.disconnect()


def back(stage: Stage, welcome: dict[str, Any], **positions: int) -> Peer:
    peer = stage.connect()
    peer.execute(hello(welcome, **positions))
    stage.run_backfill()
    return peer


def test_resume_by_two_connections_goes_to_the_newest(stage: Stage) -> None:
    # Given a session, and two connections that both resume it
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    older, newer = stage.connect(), stage.connect()

    # When the newer one is read first
    newer.execute(hello(welcome, lobby=0))
    older.execute(hello(welcome))

    # Then it keeps it, and the older one gets `bye` `replaced`
    assert welcome_of(newer)["resumed"] is True
    assert newer.link.ended is None
    assert (ann.link.ended, older.link.ended) == ("replaced", "replaced")
    newer.send_message("still here")
    stage.commit()
    assert newer.messages()


def test_resume_by_many_connections_goes_to_the_newest(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    peers = [stage.connect() for _ in range(8)]
    for peer in peers[1:]:
        stage.during_wait.append(lambda peer=peer: peer.execute(hello(welcome)))  # type: ignore[misc]
    peers[0].execute(hello(welcome))
    assert [peer.link.ended for peer in peers] == ["replaced"] * 7 + [None]
    assert welcome_of(peers[-1])["resumed"] is True


def test_resume_of_a_connection_that_has_ended_is_dropped(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    late = stage.connect()
    stage.during_wait.append(lambda: setattr(late.outbox, "closed", True))
    late.execute(hello(welcome))
    assert not late.frames
    assert stage.hub.directory["ann"].sessions[0].held
    assert welcome_of(back(stage, welcome))["resumed"] is True


def test_resume_of_a_user_kicked_meanwhile_fails(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    stage.during_wait.append(lambda: stage.hub.lifecycle.kick(ann.session.identity))
    late = stage.connect()
    late.execute(hello(welcome_of(ann)))
    assert late.frames[0]["code"] == "forbidden"


def test_resume_after_a_minute_refills_the_bucket_and_counts_no_latency(make_stage: type[Stage]) -> None:
    # Given a user that has used up its rate
    stage = make_stage(limits=Limits(rate_messages=1, rate_messages_burst=3, rate_bytes=0))
    ann = stage.enter("ann", resumable=True)
    for _ in range(4):
        ann.send_message()
    assert ann.receive("error")
    welcome = welcome_of(ann)
    cut(ann)

    # When it resumes after a minute, with a message in the same packet
    stage.clock.advance(60)
    late = stage.connect()
    stage.router.record_input(late.session, 10)
    late.execute(hello(welcome, lobby=3))
    stage.router.dispatch(late.session, commands.Message(message="back"))
    stage.commit()

    # Then the message is accepted, and its latency is not a minute
    assert late.messages()[-1]["message"] == "back"
    assert max(stage.hub.stats.accept_to_commit) < 1_000_000


def test_start_with_too_many_held_sessions_succeeds(make_stage: type[Stage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        with closing(open_sqlite(path)) as store:
            stage = make_stage(store=store)
            welcomes = [welcome_of(stage.enter(name, resumable=True)) for name in ("ann", "bob", "cid")]
        with closing(open_sqlite(path)) as store:
            stage = make_stage(store=store, limits=structs.replace(NO_RATES, max_held=2))
            for _ in range(2):
                stage.hub.resumable.tick()
                stage.clock.advance(1)
            resumed = [welcome_of(back(stage, welcome))["resumed"] for welcome in welcomes]
    assert resumed == [False, True, True]


def test_conversations_that_do_not_fit_into_welcome_are_opened(stage: Stage) -> None:
    # Given a user with many conversations, of long names
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    cut(ann)
    others = [stage.enter(f"{number:03}" + "\u00fc" * 29, resumable=True) for number in range(500)]
    for other in others:
        other.send_message("hi", to="ann")
    stage.commit()

    # When it resumes
    late = back(stage, welcome)

    # Then each conversation is announced before its messages
    again = welcome_of(late)
    known = {state["room"] for state in again["rooms"]}
    assert len(known) < 500
    for frame in late.frames[1:]:
        if frame["type"] == "opened":
            known.add(frame["room"])
            assert (frame["seq"], frame["with"]) == (0, frame["by"])
        elif frame["type"] == "message":
            assert frame["room"] in known
    assert len(known) == 500
    assert len(late.messages()) == 500


def test_resume_creates_no_rooms_above_the_limit(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_rooms=5, max_public_rooms=3))
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    cut(ann)
    late = back(stage, welcome, **{f"room{number}": 0 for number in range(50)})
    assert len(welcome_of(late)["rooms"]) == len(stage.hub.rooms) == 3


def test_resume_with_a_room_named_twice_joins_it_once(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    cut(ann)
    late = back(stage, welcome, Foo=0, foo=0)
    assert [state["room"] for state in welcome_of(late)["rooms"]] == ["Foo"]
    assert set(late.session.memberships) == {"foo"}


def test_hello_with_confusable_new_rooms_is_refused(stage: Stage) -> None:
    ann = stage.connect()
    ann.execute(commands.Hello(username="ann", rooms=["copa", "\u0441\u043e\u0440\u0430"]))
    assert ann.frames[0]["code"] == "name_taken"
    assert not stage.hub.rooms
