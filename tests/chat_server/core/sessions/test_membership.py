"""Memberships: every pair of state and event, and how the server gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_server.core.delivery.room import Room
from chat_server.core.ports.registry import NewRoom
from chat_server.core.sessions.membership import (
    MEMBERSHIP_TRANSITIONS,
    Membership,
    MembershipEvent,
    MembershipState,
)
from support.core_stage.moves import (
    acknowledge,
    close_with,
    come_back,
    cut,
    end_expired,
    expire,
    fill_outbox,
    open_with,
    read_again,
    send_to,
    stop_reading,
)
from support.fakes.plain_fan_out import PlainFanOut
from support.transition_matrix import applied_states, pair_name, pairs, recording, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

S, E = MembershipState, MembershipEvent


def test_membership_allows_these_events_and_no_others() -> None:
    room = Room(NewRoom("a", "a"), PlainFanOut(), lambda *_: None)
    assert applied_states(Membership(room), MembershipState, MembershipEvent) == words("""
                     JOIN  JOIN_LAGGING  JOIN_ABSENT  OVERFLOW  CATCH_UP  HOLD    RESUME   OWE_CLOSED  SEND_CLOSED  LEAVE
        OUT          LIVE  LAGGING       ABSENT       -         -         -       -        ENDING      -            -
        LIVE         -     -             -            LAGGING   -         ABSENT  -        ENDING      UNCONFIRMED  OUT
        LAGGING      -     -             -            -         LIVE      ABSENT  -        ENDING      UNCONFIRMED  OUT
        ABSENT       -     -             -            -         -         -       LAGGING  ENDING      -            OUT
        ENDING       -     LAGGING       ABSENT       -         -         ENDING  ENDING   -           UNCONFIRMED  OUT
        UNCONFIRMED  LIVE  LAGGING       -            -         -         ENDING  -        -           -            OUT
    """)  # noqa: E501  a line a state


def two(stage: Stage) -> tuple[Peer, Peer]:
    """Return two users with an open conversation, the first one resumable. Both have received all."""
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    send_to(stage, bob, "ann")
    acknowledge(ann, bob)
    return ann, bob


def lagging(stage: Stage) -> tuple[Peer, Peer]:
    """Return the same, with a message that the first one lacks: its outbox is full."""
    ann, bob = two(stage)
    stop_reading(ann)
    send_to(stage, bob, "ann")
    send_to(stage, bob, "ann")
    return ann, bob


def held(stage: Stage) -> tuple[Peer, Peer]:
    """Return the same, with the first one held."""
    ann, bob = two(stage)
    cut(ann)
    return ann, bob


def unconfirmed(stage: Stage) -> tuple[Peer, Peer]:
    """Return two users, the first of which was sent `opened` and `closed`, and has acknowledged neither."""
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    open_with(stage, bob, "ann")
    close_with(bob, "ann")
    return ann, bob


def join(stage: Stage) -> None:
    stage.enter("ann")


def resume_in_a_room(stage: Stage) -> None:
    ann, bob = held(stage)
    bob.send_message()
    stage.commit()
    come_back(stage, ann, lobby=0)


def open_with_a_held_user(stage: Stage) -> None:
    cut(stage.enter("ann", resumable=True))
    send_to(stage, stage.enter("bob"), "ann")


def resume_in_a_closed_conversation(stage: Stage) -> None:
    """The client has not received `closed`, although its kernel had acknowledged it."""
    ann, bob = two(stage)
    close_with(bob, "ann")
    acknowledge(ann)
    cut(ann)
    come_back(stage, ann, **{"@ann,bob": 1})


def overflow(stage: Stage) -> None:
    lagging(stage)


def hold(stage: Stage) -> None:
    held(stage)


def close_with_a_full_outbox(stage: Stage) -> None:
    ann, bob = two(stage)
    fill_outbox(ann)
    close_with(bob, "ann")


def close_before_the_opening_is_acknowledged(stage: Stage) -> None:
    unconfirmed(stage)


def leave(stage: Stage) -> None:
    stage.enter("ann", "a").execute(commands.Leave(room="a"))


def read_what_was_lacking(stage: Stage) -> None:
    ann, _ = lagging(stage)
    read_again(stage, ann)


def hold_while_lagging(stage: Stage) -> None:
    ann, _ = lagging(stage)
    cut(ann)


def close_while_lagging(stage: Stage) -> tuple[Peer, Peer]:
    ann, bob = lagging(stage)
    close_with(bob, "ann")
    return ann, bob


def open_and_close_again_unread(stage: Stage) -> None:
    """Nothing of the second opening has been sent; the first one is still unconfirmed."""
    ann, bob = unconfirmed(stage)
    fill_outbox(ann)
    open_with(stage, bob, "ann")
    close_with(bob, "ann")


def disconnect_while_lagging(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    stop_reading(ann)
    for _ in range(2):
        bob.send_message()
        stage.commit()
    cut(ann)


def resume(stage: Stage) -> None:
    ann, _ = held(stage)
    come_back(stage, ann, **{"@ann,bob": 1})


def close_while_held(stage: Stage) -> tuple[Peer, Peer]:
    ann, bob = held(stage)
    close_with(bob, "ann")
    return ann, bob


def expire_while_held(stage: Stage) -> None:
    held(stage)
    expire(stage)
    end_expired(stage)


def open_again_before_closed_is_sent(stage: Stage) -> None:
    _, bob = close_while_lagging(stage)
    open_with(stage, bob, "ann")


def open_again_while_held(stage: Stage) -> None:
    _, bob = close_while_held(stage)
    open_with(stage, bob, "ann")


def hold_before_closed_is_sent(stage: Stage) -> None:
    ann, _ = close_while_lagging(stage)
    cut(ann)


def resume_before_closed_is_sent(stage: Stage) -> None:
    ann, _ = close_while_held(stage)
    come_back(stage, ann, **{"@ann,bob": 1})


def receive_a_whole_conversation_unacknowledged(stage: Stage) -> None:
    """It was opened and closed while the user was held: its client does not know of it."""
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    bob = stage.enter("bob")
    send_to(stage, bob, "ann")
    close_with(bob, "ann")
    come_back(stage, ann)
    stage.run_backfill()


def read_up_to_closed(stage: Stage) -> None:
    ann, _ = close_while_lagging(stage)
    read_again(stage, ann)


def open_again_unconfirmed(stage: Stage) -> None:
    _, bob = unconfirmed(stage)
    open_with(stage, bob, "ann")


def open_again_unconfirmed_and_unread(stage: Stage) -> None:
    ann, bob = unconfirmed(stage)
    fill_outbox(ann)
    open_with(stage, bob, "ann")


def hold_unconfirmed(stage: Stage) -> None:
    ann, _ = unconfirmed(stage)
    cut(ann)


def confirm(stage: Stage) -> None:
    ann, _ = unconfirmed(stage)
    acknowledge(ann)
    stage.hub.closings.tick()


SCENARIOS: dict[tuple[MembershipState, MembershipEvent], Callable[[Stage], object]] = {
    (S.OUT, E.JOIN): join,
    (S.OUT, E.JOIN_LAGGING): resume_in_a_room,
    (S.OUT, E.JOIN_ABSENT): open_with_a_held_user,
    (S.OUT, E.OWE_CLOSED): resume_in_a_closed_conversation,
    (S.LIVE, E.OVERFLOW): overflow,
    (S.LIVE, E.HOLD): hold,
    (S.LIVE, E.OWE_CLOSED): close_with_a_full_outbox,
    (S.LIVE, E.SEND_CLOSED): close_before_the_opening_is_acknowledged,
    (S.LIVE, E.LEAVE): leave,
    (S.LAGGING, E.CATCH_UP): read_what_was_lacking,
    (S.LAGGING, E.HOLD): hold_while_lagging,
    (S.LAGGING, E.OWE_CLOSED): close_while_lagging,
    (S.LAGGING, E.SEND_CLOSED): open_and_close_again_unread,
    (S.LAGGING, E.LEAVE): disconnect_while_lagging,
    (S.ABSENT, E.RESUME): resume,
    (S.ABSENT, E.OWE_CLOSED): close_while_held,
    (S.ABSENT, E.LEAVE): expire_while_held,
    (S.ENDING, E.JOIN_LAGGING): open_again_before_closed_is_sent,
    (S.ENDING, E.JOIN_ABSENT): open_again_while_held,
    (S.ENDING, E.HOLD): hold_before_closed_is_sent,
    (S.ENDING, E.RESUME): resume_before_closed_is_sent,
    (S.ENDING, E.SEND_CLOSED): receive_a_whole_conversation_unacknowledged,
    (S.ENDING, E.LEAVE): read_up_to_closed,
    (S.UNCONFIRMED, E.JOIN): open_again_unconfirmed,
    (S.UNCONFIRMED, E.JOIN_LAGGING): open_again_unconfirmed_and_unread,
    (S.UNCONFIRMED, E.HOLD): hold_unconfirmed,
    (S.UNCONFIRMED, E.LEAVE): confirm,
}


@pytest.mark.parametrize("pair", SCENARIOS, ids=pair_name)
def test_membership_event_happens(stage: Stage, pair: tuple[MembershipState, MembershipEvent]) -> None:
    with recording() as reached:
        SCENARIOS[pair](stage)
    assert pair in reached.of(MEMBERSHIP_TRANSITIONS)


def test_every_membership_event_is_reached() -> None:
    assert {*SCENARIOS} == {*pairs(MEMBERSHIP_TRANSITIONS)}
