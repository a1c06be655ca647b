"""Being behind: fed from the log when the outbox is empty, never past the head, then live at once."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from chat_protocol import commands
from chat_server.core.chat.conversations import cursor_of
from chat_server.core.delivery import backfill as feeding
from chat_server.core.delivery import room as rooms

if TYPE_CHECKING:
    from chat_server.core.conftest import Peer, Stage


def stopped(stage: Stage, name: str) -> Peer:
    """Somebody who reads nothing, and for whom nothing more than one message may wait."""
    peer = stage.enter(name)
    peer.outbox.peer_stopped = True
    peer.outbox.limit = 1
    peer.outbox.progress_at = stage.clock.now
    return peer


def seqs(peer: Peer, room: str = "lobby") -> list[int]:
    return [frame["seq"] for frame in peer.messages(room)]


def drained(stage: Stage, peer: Peer) -> None:
    """Let the peer read all that comes from now on."""
    peer.outbox.peer_stopped = False
    peer.outbox.drain()
    stage.run_backfill()


def say(stage: Stage, peer: Peer, count: int, **how: str) -> None:
    for _ in range(count):
        peer.send_message("x", **how)
        stage.commit()


def test_who_does_not_read_is_fed_when_it_does(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 5)
    stage.run_backfill()
    assert seqs(bob) == [1]  # the bound is 1 byte, and an empty outbox takes anything
    assert bob.session.lagging is not None
    assert bob.session.lagging.missing_messages() == 4
    drained(stage, bob)
    assert seqs(bob) == [1, 2, 3, 4, 5]
    assert cursor_of(bob.session, stage.hub.rooms["lobby"]) is None
    say(stage, ann, 1)
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]


def test_who_lags_is_fed_in_chunks_each_when_the_last_is_taken(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 7)
    with patch.object(feeding, "CHUNK_MESSAGES", 2):
        for expected in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]):
            bob.outbox.drain()
            stage.run_backfill()
            assert seqs(bob) == expected


def test_a_chunk_is_taken_whole_or_not_at_all(stage: Stage) -> None:
    # Given somebody behind, whose outbox fills while the store is read
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 1):
        say(stage, ann, 4)
    stage.store.during_read.append(lambda: bob.execute(commands.Servers()))
    bob.outbox.drain()
    stage.run_backfill()

    # Then the chunk waits for its turn, and comes once
    assert seqs(bob) == [1]
    drained(stage, bob)
    assert seqs(bob) == [1, 2, 3, 4]


def test_who_leaves_while_the_store_is_read_gets_nothing_more(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    with patch.object(rooms, "TAIL_MESSAGES", 1):
        say(stage, ann, 4)
    stage.store.during_read.append(lambda: stage.hub.leave_room(stage.hub.rooms["lobby"], bob.session))
    drained(stage, bob)
    assert seqs(bob) == [1]
    assert bob.session.lagging is None


def test_a_long_batch_goes_in_pieces_of_which_each_is_taken_or_not(stage: Stage) -> None:
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


def test_own_messages_are_acknowledged_before_the_answer_to_leave(stage: Stage) -> None:
    # Given somebody who does not read what comes back
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 1)
    bob.send_message("mine", ref="m")
    stage.commit()
    assert bob.session.lagging is not None
    assert bob.session.lagging.owes_own_message()

    # When they leave, reading at last
    bob.outbox.peer_stopped = False
    bob.execute(commands.Leave(room="lobby", ref="l"))

    # Then the answer comes after their own message
    order = [frame.get("ref") for frame in bob.frames if frame["type"] in {"message", "left"}]
    assert order == [None, "m", "l"]


def test_own_messages_said_while_behind_are_acknowledged_before_quit(stage: Stage) -> None:
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


def test_presence_is_dropped_and_made_up_for_by_the_count(stage: Stage) -> None:
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
    (told,) = bob.receive("presence")
    assert told == {"type": "presence", "room": "lobby", "count": 2}


def test_a_store_that_cannot_be_read_is_tried_again(stage: Stage) -> None:
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


def test_a_conversation_closed_and_opened_again_while_behind_goes_on(stage: Stage) -> None:
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


def test_the_closing_comes_after_what_was_said(stage: Stage) -> None:
    bob, ann = stage.enter("bob"), stage.enter("ann")
    say(stage, ann, 1, to="bob")
    bob.outbox.peer_stopped, bob.outbox.limit = True, 1
    say(stage, ann, 3, to="bob")
    ann.execute(commands.Close(peer="bob"))
    drained(stage, bob)
    kinds = [(frame["type"], frame.get("seq")) for frame in bob.receive() if "room" in frame]
    assert kinds[-4:] == [("message", 2), ("message", 3), ("message", 4), ("closed", None)]


def test_a_conversation_in_which_nothing_was_said_is_not_told_to_who_is_behind(
    stage: Stage,
) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    ann.execute(commands.Open(peer="bob"))
    stage.commit()
    ann.execute(commands.Close(peer="bob"))
    drained(stage, bob)
    assert not [frame for frame in bob.frames if frame["type"] in {"opened", "closed"}]


@pytest.mark.parametrize("reads", [True, False])
def test_who_takes_no_byte_for_long_is_stalled(stage: Stage, reads: bool) -> None:
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


def test_lag_is_told_after_a_second_and_so_is_its_end(stage: Stage) -> None:
    told: list[tuple[str, int]] = []
    stage.hub.backfill.on_lagging = lambda session, behind: told.append(
        (session.name, behind.missing_messages())
    )
    stage.hub.backfill.on_caught_up = lambda session, behind: told.append(
        (session.name, -behind.messages_sent)
    )
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    stage.hub.backfill.tick()
    assert not told
    stage.clock.advance(1.5)
    stage.hub.backfill.tick()
    stage.clock.advance(1.5)
    stage.hub.backfill.tick()
    drained(stage, bob)
    assert told == [("bob", 2), ("bob", -2)]
    stage.check()


def test_who_lags_shows_in_who(stage: Stage) -> None:
    bob, ann = stopped(stage, "bob"), stage.enter("ann")
    say(stage, ann, 3)
    ann.receive()
    ann.execute(commands.Who())
    users = {user["username"]: user.get("behind", 0) for user in ann.receive_one("who")["users"]}
    assert users == {"ann": 0, "bob": 2}
    drained(stage, bob)


def test_an_opening_that_never_arrived_is_told_again(stage: Stage) -> None:
    """Given a conversation opened, used and closed towards somebody whose connection is dead."""
    bob, ann = stage.enter("bob", resumable=True), stage.enter("ann")
    welcome = next(frame for frame in bob.frames if frame["type"] == "welcome")
    bob.outbox.acked = len(bob.outbox.data)
    say(stage, ann, 2, to="bob")
    ann.execute(commands.Close(peer="bob"))
    assert [frame["type"] for frame in bob.receive()][-1] == "closed"
    bob.outbox.closed = True
    bob.disconnect()

    # When the client comes back, knowing nothing of it
    back = stage.connect()
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={"lobby": 0})
    back.execute(commands.Hello(username="bob", resumable=True, resume=resume))
    stage.run_backfill()

    # Then it is told everything, and the end of it
    assert seqs(back, "@ann,bob") == [1, 2]
    assert back.frames[-1]["type"] == "closed"
