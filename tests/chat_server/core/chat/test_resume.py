"""Taking a session over: who gets it, what it takes along, and what it must not bring back."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from chat_protocol import commands
from chat_server.core.base.limits import Limits
from chat_server.engines.sqlite.log import SqliteStore

if TYPE_CHECKING:
    from chat_server.core.conftest import Peer, Stage

NO_RATES = Limits(rate_messages=0, rate_bytes=0)


def welcome_of(peer: Peer) -> dict[str, Any]:
    return next(frame for frame in peer.frames if frame["type"] == "welcome")


def hello(welcome: dict[str, Any], **stands: int) -> commands.Hello:
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms=stands)
    return commands.Hello(username=welcome["username"], resumable=True, resume=resume)


def cut(peer: Peer) -> None:
    peer.outbox.closed = True
    peer.disconnect()


def back(stage: Stage, welcome: dict[str, Any], **stands: int) -> Peer:
    peer = stage.connect()
    peer.execute(hello(welcome, **stands))
    stage.run_backfill()
    return peer


def test_the_newest_connection_gets_the_session(stage: Stage) -> None:
    # Given a session, and two connections that both want to go on with it
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    older, newer = stage.connect(), stage.connect()

    # When the newer one is heard first
    newer.execute(hello(welcome, lobby=0))
    older.execute(hello(welcome))

    # Then it keeps it, and the older one is told that it was replaced
    assert welcome_of(newer)["resumed"] is True
    assert newer.link.ended is None
    assert (ann.link.ended, older.link.ended) == ("replaced", "replaced")
    newer.send_message("still here")
    stage.commit()
    assert newer.messages()


def test_of_many_at_once_the_newest_gets_it(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    peers = [stage.connect() for _ in range(8)]
    for peer in peers[1:]:
        stage.during_wait.append(lambda peer=peer: peer.execute(hello(welcome)))  # type: ignore[misc]
    peers[0].execute(hello(welcome))
    assert [peer.link.ended for peer in peers] == ["replaced"] * 7 + [None]
    assert welcome_of(peers[-1])["resumed"] is True


def test_a_connection_that_has_ended_does_not_take_the_seat(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    late = stage.connect()
    stage.during_wait.append(lambda: setattr(late.outbox, "closed", True))
    late.execute(hello(welcome))
    assert not late.frames
    assert stage.hub.directory["ann"].held
    assert welcome_of(back(stage, welcome))["resumed"] is True


def test_who_is_kicked_while_being_replaced_is_out(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    stage.during_wait.append(lambda: stage.hub.kick(ann.session))
    late = stage.connect()
    late.execute(hello(welcome_of(ann)))
    assert late.frames[0]["code"] == "forbidden"


def test_time_away_is_no_latency_and_fills_the_bucket(make_stage: type[Stage]) -> None:
    # Given somebody who had used up their rate
    stage = make_stage(limits=Limits(rate_messages=1, rate_messages_burst=3, rate_bytes=0))
    ann = stage.enter("ann", resumable=True)
    for _ in range(4):
        ann.send_message()
    assert ann.receive("error")
    welcome = welcome_of(ann)
    cut(ann)

    # When they come back after a minute, and say something in the same packet
    stage.clock.advance(60)
    late = stage.connect()
    stage.router.record_input(late.session, 10)
    late.execute(hello(welcome, lobby=3))
    stage.router.dispatch(late.session, commands.Message(message="back"))
    stage.commit()

    # Then it is accepted, and took no minute
    assert late.messages()[-1]["message"] == "back"
    assert max(stage.hub.stats.accept_to_commit) < 1_000_000


def test_more_sessions_than_may_be_held_do_not_keep_the_server_from_starting(make_stage: type[Stage]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        inline = lambda function, *args: function(*args)  # noqa: E731
        with closing(SqliteStore(path, full_sync=False, offload=inline, read_offload=inline)) as store:
            stage = make_stage(store=store)
            welcomes = [welcome_of(stage.enter(name, resumable=True)) for name in ("ann", "bob", "cid")]
        with closing(SqliteStore(path, full_sync=False, offload=inline, read_offload=inline)) as store:
            stage = make_stage(store=store, limits=structs.replace(NO_RATES, max_held=2))
            for _ in range(2):
                stage.hub.resumable.tick()
                stage.clock.advance(1)
            resumed = [welcome_of(back(stage, welcome))["resumed"] for welcome in welcomes]
    assert resumed == [False, True, True]


def test_conversations_that_find_no_place_in_the_welcome_are_opened(stage: Stage) -> None:
    # Given somebody with many conversations, of long names
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    cut(ann)
    others = [stage.enter(f"{number:03}" + "\u00fc" * 29, resumable=True) for number in range(500)]
    for other in others:
        other.send_message("hi", to="ann")
    stage.commit()

    # When they come back
    late = back(stage, welcome)

    # Then each conversation is known before anything is said in it
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


def test_resuming_founds_no_more_rooms_than_there_may_be(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_rooms=5, max_public_rooms=3))
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    cut(ann)
    late = back(stage, welcome, **{f"room{number}": 0 for number in range(50)})
    assert len(welcome_of(late)["rooms"]) == len(stage.hub.rooms) == 3


def test_a_room_that_is_named_twice_is_one(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    welcome = welcome_of(ann)
    cut(ann)
    late = back(stage, welcome, Foo=0, foo=0)
    assert [state["room"] for state in welcome_of(late)["rooms"]] == ["Foo"]
    assert set(late.session.rooms) == {"foo"}


def test_rooms_that_look_alike_do_not_come_into_being_together(stage: Stage) -> None:
    ann = stage.connect()
    ann.execute(commands.Hello(username="ann", rooms=["copa", "\u0441\u043e\u0440\u0430"]))
    assert ann.frames[0]["code"] == "name_taken"
    assert not stage.hub.rooms
