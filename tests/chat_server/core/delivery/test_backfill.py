"""Backfill: fed from the log when the outbox is empty, never past the head, then live at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from msgspec import structs

from chat_protocol import commands
from chat_server.core.delivery import backfill as feeding
from chat_server.core.delivery import room as rooms

if TYPE_CHECKING:
    from collections.abc import Callable

    from chat_protocol.events import MessageEvent
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


def stopped(stage: Stage, name: str) -> Peer:
    """Return a peer that reads nothing, and for which only one message may be queued."""
    peer = stage.enter(name)
    peer.outbox.peer_stopped = True
    peer.outbox.limit = 1
    peer.outbox.progress_at = stage.clock.now
    return peer


def seqs(peer: Peer, room: str = "lobby") -> list[int]:
    return [frame["seq"] for frame in peer.messages(room)]


def drained(stage: Stage, peer: Peer) -> None:
    """Let the peer read all that arrives from now on."""
    peer.outbox.peer_stopped = False
    peer.outbox.drain()
    stage.run_backfill()


def say(stage: Stage, peer: Peer, count: int, **how: str) -> None:
    for _ in range(count):
        peer.send_message("x", **how)
        stage.commit()


def test_backfill_of_a_peer_that_reads_again_catches_up(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 5)
    stage.run_backfill()
    assert seqs(bob) == [1]  # the bound is 1 byte, and an empty outbox takes anything
    assert bob.session.lagging is not None
    assert bob.session.lagging.missing_messages() == 4
    drained(stage, bob)
    assert seqs(bob) == [1, 2, 3, 4, 5]
    assert stage.hub.rooms["lobby"].members[bob.session].cursor is None
    say(stage, ann, 1)
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]


def test_backfill_sends_the_next_chunk_when_the_last_is_taken(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 7)
    with patch.object(feeding, "CHUNK_MESSAGES", 2):
        for expected in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]):
            bob.outbox.drain()
            stage.run_backfill()
            assert seqs(bob) == expected


def test_backfill_chunk_is_taken_whole_or_not_at_all(stage: Stage) -> None:
    # Given a lagging session whose outbox fills during the read
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 1):
        say(stage, ann, 4)
    stage.store.during_read.append(lambda: bob.execute(commands.Servers()))
    bob.outbox.drain()
    stage.run_backfill()

    # Then the chunk waits for its turn, and is sent once
    assert seqs(bob) == [1]
    drained(stage, bob)
    assert seqs(bob) == [1, 2, 3, 4]


def test_backfill_of_a_member_leaving_during_the_read_stops(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 1):
        say(stage, ann, 4)
    stage.store.during_read.append(lambda: stage.hub.rooms.leave(stage.hub.rooms["lobby"], bob.session))
    drained(stage, bob)
    assert seqs(bob) == [1]
    assert bob.session.lagging is None


def test_room_splits_a_long_batch_into_chunks_taken_or_backfilled(stage: Stage) -> None:
    bob, ann = stage.enter("bob"), stage.enter("ann")
    bob.outbox.peer_stopped = True
    bob.outbox.limit = 2 * rooms.CHUNK_BYTES
    for _ in range(100):
        ann.send_message("x" * 4000)
    stage.commit()
    assert bob.session.lagging is not None
    assert bob.outbox.queued_bytes <= bob.outbox.limit + rooms.CHUNK_BYTES
    got = seqs(bob)
    assert got == list(range(1, len(got) + 1))
    assert 10 < len(got) < 100
    assert seqs(ann) == list(range(1, 101))
    drained(stage, bob)
    assert seqs(bob) == list(range(1, 101))


def test_leave_while_lagging_is_answered_after_own_messages(stage: Stage) -> None:
    # Given a peer that does not read its answers
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 1)
    bob.send_message("mine", ref="m")
    stage.commit()
    assert bob.session.lagging is not None
    assert bob.session.lagging.owes_own_message()

    # When it leaves, reading at last
    bob.outbox.peer_stopped = False
    bob.execute(commands.Leave(room="lobby", ref="l"))

    # Then the answer comes after its own message
    order = [frame.get("ref") for frame in bob.frames if frame["type"] in {"message", "left"}]
    assert order == [None, "m", "l"]


def test_quit_while_lagging_is_answered_after_own_messages(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    assert bob.session.lagging is not None
    assert not bob.session.lagging.owes_own_message()
    bob.send_message("mine", ref="m")
    stage.commit()
    assert bob.session.lagging.owes_own_message()
    bob.outbox.peer_stopped = False
    bob.execute(commands.Quit())
    assert bob.frames[-1]["ref"] == "m"
    assert bob.link.ended == "quit"


def test_presence_missed_while_lagging_is_replaced_by_the_count(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    stage.clock.advance(2)
    stage.hub.presence_updates.flush()
    say(stage, ann, 2)
    bob.receive()
    cid = stage.enter("cid")
    stage.clock.advance(2)
    stage.hub.presence_updates.flush()
    cid.disconnect(for_good=True)
    stage.clock.advance(2)
    stage.hub.presence_updates.flush()
    drained(stage, bob)
    (presence,) = bob.receive("presence")
    assert presence == {"type": "presence", "room": "lobby", "count": 2}


def test_backfill_with_an_unreadable_store_is_retried(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 1):
        say(stage, ann, 4)
    stage.store.unreadable = True
    drained(stage, bob)
    assert seqs(bob) == [1]
    stage.store.unreadable = False
    stage.clock.advance(2)
    stage.hub.backfill.tick()
    stage.run_backfill()
    assert seqs(bob) == [1, 2, 3, 4]


def test_conversation_reopened_while_lagging_continues(stage: Stage) -> None:
    bob, ann = stage.enter("bob"), stage.enter("ann")
    say(stage, ann, 1, to="bob")
    bob.outbox.peer_stopped, bob.outbox.limit = True, 1
    say(stage, ann, 3, to="bob")
    ann.execute(commands.Close(peer="bob"))
    say(stage, ann, 2, to="bob")
    drained(stage, bob)
    assert seqs(bob, "@ann,bob") == [1, 2, 3, 4, 5, 6]
    assert [frame["type"] for frame in bob.frames if frame["type"] in {"opened", "closed"}] == ["opened"]
    assert ann.receive("opened")[-1]["seq"] == 4


def test_closed_event_while_lagging_comes_after_the_messages(stage: Stage) -> None:
    bob, ann = stage.enter("bob"), stage.enter("ann")
    say(stage, ann, 1, to="bob")
    bob.outbox.peer_stopped, bob.outbox.limit = True, 1
    say(stage, ann, 3, to="bob")
    ann.execute(commands.Close(peer="bob"))
    drained(stage, bob)
    kinds = [(frame["type"], frame.get("seq")) for frame in bob.receive() if "room" in frame]
    assert kinds[-4:] == [("message", 2), ("message", 3), ("message", 4), ("closed", None)]


def test_conversation_opened_and_closed_empty_while_lagging_is_not_sent(
    stage: Stage,
) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    ann.execute(commands.Open(peer="bob"))
    stage.commit()
    ann.execute(commands.Close(peer="bob"))
    drained(stage, bob)
    assert not [frame for frame in bob.frames if frame["type"] in {"opened", "closed"}]


def test_lagging_session_does_not_wait_for_the_fan_out(stage: Stage) -> None:
    # Given a lagging session that reads again, and a message of a large room that waits to be sent to it
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    stage.clock.advance(1.5)
    bob.outbox.peer_stopped = False
    bob.outbox.drain()
    bob.outbox.defer(1)
    # When it is looked at, then it is not taken for one that does not read
    stage.hub.backfill.tick()
    assert not stage.observer.lagging
    bob.outbox.defer(1)
    stage.run_backfill()
    assert seqs(bob) == [1, 2, 3]
    assert bob.session.lagging is None


def test_session_that_lags_in_two_rooms_is_fed_on_though_bytes_wait_for_the_fan_out(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    for peer in (bob, ann):
        peer.execute(commands.Join(room="den"))
    for room in ("lobby", "den"):
        say(stage, ann, 3, room=room)
    feed = stage.hub.backfill._feed

    def feed_while_others_write(*arguments: Any) -> None:
        feed(*arguments)
        bob.outbox.defer(1)

    bob.outbox.peer_stopped = False
    with patch.object(stage.hub.backfill, "_feed", feed_while_others_write):
        bob.outbox.drain()
        stage.run_backfill()
    assert [seqs(bob, "lobby")[-1], seqs(bob, "den")[-1]] == [3, 3]
    assert bob.session.lagging is None


@pytest.mark.parametrize("reads", [True, False])
def test_lagging_peer_without_progress_is_stalled(stage: Stage, reads: bool) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    bob.outbox.progress_at = stage.clock.now
    stage.clock.advance(119)
    stage.hub.backfill.tick()
    assert bob.link.ended is None
    if reads:
        bob.outbox.progress_at = stage.clock.now
    stage.clock.advance(2)
    stage.hub.backfill.tick()
    assert bob.link.ended == (None if reads else "stalled")


def test_lag_over_a_second_is_reported_with_its_end(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    stage.hub.backfill.tick()
    assert not stage.observer.lagging
    stage.clock.advance(1.5)
    stage.hub.backfill.tick()
    stage.clock.advance(1.5)
    stage.hub.backfill.tick()
    drained(stage, bob)
    assert stage.observer.lagging == [("lagging", "bob", 2), ("caught up", "bob", 2)]
    stage.check()


def test_lagging_user_in_a_user_list_has_its_lag(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    ann.receive()
    ann.execute(commands.Who())
    users = {user["username"]: user.get("behind", 0) for user in ann.receive_one("who")["users"]}
    assert users == {"ann": 0, "bob": 2}
    drained(stage, bob)


def test_opening_that_never_arrived_is_sent_again(stage: Stage) -> None:
    """Given a conversation opened, used and closed while one side's connection is dead."""
    bob, ann = stage.enter("bob", resumable=True), stage.enter("ann")
    welcome = next(frame for frame in bob.frames if frame["type"] == "welcome")
    bob.outbox.acked = len(bob.outbox.data)
    say(stage, ann, 2, to="bob")
    ann.execute(commands.Close(peer="bob"))
    assert [frame["type"] for frame in bob.receive()][-1] == "closed"
    bob.outbox.closed = True
    bob.disconnect()

    # When the client resumes, without knowing the conversation
    back = stage.connect()
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={"lobby": 0})
    back.execute(commands.Hello(username="bob", resumable=True, resume=resume))
    stage.run_backfill()

    # Then it gets everything, and the closing
    assert seqs(back, "@ann,bob") == [1, 2]
    assert back.frames[-1]["type"] == "closed"


# What the log answers


def without(stage: Stage, *lost: int) -> Callable[..., list[MessageEvent]]:
    """Return a `read` of a store that has lost these messages."""
    read = type(stage.store).read

    def read_others(
        room: int, name: str, after: int, before: int, limit: int, **options: Any
    ) -> list[MessageEvent]:
        found = read(stage.store, room, name, after, before, 1000, **options)
        return [event for event in found if event.seq not in lost][:limit]

    return read_others


def fed(peer: Peer) -> list[tuple[str, int, int]]:
    """Return what the peer got of the lobby: messages and gaps, with first and last seq."""
    return [
        (frame["type"], frame.get("seq") or frame["first"], frame.get("seq") or frame["last"])
        for frame in peer.frames
        if frame["type"] in {"message", "gap"}
    ]


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_backfill_reports_what_is_lost_between_messages_as_gaps(stage: Stage, chunk: int) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 0):
        say(stage, ann, 9)
    read = patch.object(stage.store, "read", without(stage, 3, 4, 6, 9))
    with read, patch.object(feeding, "CHUNK_MESSAGES", chunk):
        drained(stage, bob)
    assert fed(bob) == [
        ("message", 1, 1),
        ("message", 2, 2),
        ("gap", 3, 4),
        ("message", 5, 5),
        ("gap", 6, 6),
        ("message", 7, 7),
        ("message", 8, 8),
        ("gap", 9, 9),
    ]
    assert bob.session.lagging is None


@pytest.mark.parametrize("wrong", [[1, 2], [4, 3], [3, 3], [3, 99]], ids=str)
def test_backfill_never_moves_a_cursor_back_or_beyond_the_head(stage: Stage, wrong: list[int]) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 0):
        say(stage, ann, 5)
    events = {event.seq: event for _, event in stage.store._messages[stage.hub.rooms["lobby"].id]}
    answer = [structs.replace(events[1], seq=seq) for seq in wrong]
    cursor = stage.hub.rooms["lobby"].members[bob.session].cursor
    assert cursor is not None
    cursor.seq = 2
    with patch.object(stage.store, "read", return_value=answer):
        bob.outbox.peer_stopped = False
        bob.outbox.drain()
        with pytest.raises(ValueError, match="the log has"):
            stage.run_backfill()
    assert cursor.seq == 2
    assert seqs(bob) == [1]


def test_backfill_that_cannot_read_is_reported_once_and_when_it_can_again(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 0):
        say(stage, ann, 5)
    stage.store.unreadable = True
    drained(stage, bob)
    for _ in range(3):
        stage.clock.now += feeding.CHECK_INTERVAL_S
        stage.hub.backfill.tick()
        stage.run_backfill()
    assert stage.observer.feeding == ["unreadable"]
    stage.store.unreadable = False
    stage.clock.now += feeding.CHECK_INTERVAL_S
    stage.hub.backfill.tick()
    stage.run_backfill()
    assert stage.observer.feeding == ["unreadable", ""]
    assert seqs(bob) == [1, 2, 3, 4, 5]
