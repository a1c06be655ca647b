"""What is left of a session: nothing, and at once. The garbage collector would find no membership."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any, Self

from chat_protocol import commands
from chat_server.core.delivery.room import Room
from chat_server.core.identity.identity import Identity
from chat_server.core.sessions import detached
from chat_server.core.sessions.membership import Membership
from chat_server.core.sessions.session import BaseSession
from support.core_stage.moves import come_back, end_expired, expire, read_again, send_to, stop_reading

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

SESSIONS = 1000
KINDS = (BaseSession, Identity, Room)


class Census:
    """The objects of a class made since it was entered; meanwhile the collector frees nothing."""

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        self._older = [one for one in gc.get_objects() if type(one) in KINDS]
        self._older_ids = {id(one) for one in self._older}
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()

    def names(self, kind: type[Any]) -> list[str]:
        """Return their names, also of those that only the collector would free."""
        return sorted(
            one.name
            for one in gc.get_objects()
            if type(one) is kind and one.name and id(one) not in self._older_ids
        )


def leave(peer: Peer) -> None:
    """Disconnect, and break the cycle between session and connection, as `net/connection.py` does."""
    session = peer.session
    peer.disconnect()
    if session.link is peer.link:
        session.link, session.outbox = detached.LINK, detached.OUTBOX
    peer.stage.stored.clear()
    peer.outbox.drained = lambda: None  # the peer of a test is in cycles of its own
    del peer.session


def test_membership_is_out_of_the_collector_s_sight(stage: Stage) -> None:
    ann = stage.enter("ann")
    (membership,) = ann.session.memberships.values()
    assert not gc.is_tracked(membership)
    assert gc.is_tracked(ann.session)


def test_session_that_has_ended_is_freed_without_the_collector(stage: Stage) -> None:
    # Given a guest in rooms and in conversations, one of them lagging
    with Census() as census:
        ann, bob = stage.enter("ann", "lobby", "hers"), stage.enter("bob")
        send_to(stage, ann, "bob")
        send_to(stage, bob, "ann")
        stop_reading(ann)
        for _ in range(2):
            send_to(stage, bob, "ann")
        assert ann.session.lagging is not None
        read_again(stage, ann)
        stage.enter("eve").execute(commands.Open(peer="ann"))
        stage.commit()
        assert {"ann", "bob", "eve"} <= {*census.names(BaseSession)}
        assert {"lobby", "hers", "@ann,bob", "@ann,eve"} <= {*census.names(Room)}

        # When its connection has ended, and that of the other one, too
        leave(ann)
        del ann
        stage.commit()

        # Then nothing of it is left: no session, no identity, no room of its own
        assert "ann" not in census.names(BaseSession) + census.names(Identity)
        assert {"hers", "@ann,eve"}.isdisjoint(census.names(Room))
        assert "@ann,bob" in census.names(Room)  # bob may still read it
        leave(bob)
        del bob
        stage.commit()
        assert "@ann,bob" not in census.names(Room)
        assert {"ann", "bob"}.isdisjoint(census.names(BaseSession) + census.names(Identity))


def test_held_session_that_has_expired_is_freed_without_the_collector(stage: Stage) -> None:
    with Census() as census:
        # Given a user that has been resumed, and owes a conversation when it is held again
        bob = stage.enter("bob")
        ann = stage.enter("ann", resumable=True)
        send_to(stage, bob, "ann")
        leave(ann)
        late = come_back(stage, ann)
        leave(late)
        send_to(stage, bob, "ann")
        bob.execute(commands.Close(peer="ann"))
        stage.commit()
        stage.stored.clear()
        assert census.names(BaseSession) == ["ann", "bob"]

        # When it expires, then it is freed
        expire(stage)
        end_expired(stage)
        stage.commit()
        assert census.names(BaseSession) == census.names(Identity) == ["bob"]


def test_thousand_sessions_leave_no_membership(stage: Stage) -> None:
    # Given a room, which each membership refers to, and a user that all converse with
    with Census() as census:
        bob = stage.enter("bob")
        bob.send_message()
        stage.commit()
        stage.stored.clear()
        lobby = stage.hub.rooms["lobby"]
        references = sys.getrefcount(lobby)
        extra = Membership(lobby)
        assert sys.getrefcount(lobby) == references + 1  # so they can be counted
        del extra

        # When a thousand sessions come, converse and go
        for number in range(SESSIONS):
            peer = stage.enter(f"user{number}")
            if number % 10 == 0:
                peer.send_message(to="bob")
            if number % 10 == 5:
                peer.execute(commands.Open(peer="bob"))
            leave(peer)
        del peer
        stage.commit()
        stage.hub.closings.tick()

        # Then no membership of the room is left, no session, and of conversations those that bob may read
        assert sys.getrefcount(lobby) == references
        assert census.names(BaseSession) == census.names(Identity) == ["bob"]
        assert len(bob.session.identity.conversations or ()) == SESSIONS // 10
        assert len(census.names(Room)) == 1 + SESSIONS // 10
