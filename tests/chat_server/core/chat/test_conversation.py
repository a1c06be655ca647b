"""Conversations: every pair of state and event, and how the server gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_server.core.chat.conversation import (
    CONVERSATION_TRANSITIONS,
    Conversation,
    ConversationEvent,
    ConversationState,
    is_stored_open,
)
from chat_server.core.delivery.room import Room
from chat_server.core.ports.registry import NewRoom, StoredConversation, StoredRoom
from support.core_stage.moves import close_with, open_with, send_to
from support.fakes.plain_fan_out import PlainFanOut
from support.transition_matrix import applied_states, pair_name, pairs, recording, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

S, E = ConversationState, ConversationEvent


def test_conversation_allows_these_events_and_no_others() -> None:
    conversation = Conversation(Room(NewRoom("@a,b", "@a,b", (1, 2)), PlainFanOut(), lambda *_: None))
    assert applied_states(conversation, ConversationState, ConversationEvent) == words("""
                 QUEUE_OPENING  OPENED   FAIL     REOPEN  SAVE_CLOSING  CLOSE
        CLOSED   OPENING        OPEN     CLOSED   OPEN    -             -
        OPENING  -              OPEN     CLOSED   OPEN    -             -
        OPEN     -              OPEN     OPEN     -       CLOSING       CLOSED
        CLOSING  -              CLOSING  CLOSING  -       CLOSING       CLOSED
    """)


@pytest.mark.parametrize(
    ("since", "closed_by", "both_can_return", "expected"),
    [
        (3, None, True, True),
        (3, None, False, False),
        (3, 1, True, False),
        (None, None, True, False),
        (None, None, False, False),
    ],
)
def test_stored_row_says_whether_a_conversation_is_open(
    since: int | None, closed_by: int | None, both_can_return: bool, expected: bool
) -> None:
    row = StoredConversation(StoredRoom(7, "@a,b", "@a,b", (1, 2), 4), ("a", "b"), since, closed_by)
    assert is_stored_open(row, both_can_return=both_can_return) is expected


def two(stage: Stage, *, resumable: bool = False) -> tuple[Peer, Peer]:
    """Return two users with an open conversation."""
    ann, bob = stage.enter("ann", resumable=resumable), stage.enter("bob")
    send_to(stage, bob, "ann")
    return ann, bob


def late_message(stage: Stage, *, resumable: bool = False) -> tuple[Peer, Peer]:
    """Return two users whose conversation was closed while a message of the first one was queued."""
    ann, bob = two(stage, resumable=resumable)
    if resumable:  # then the closing is stored first: the message comes in the meantime
        stage.store.during_append.append(lambda: ann.send_message(to="bob"))
    else:
        ann.send_message(to="bob")
    close_with(bob, "ann")
    return ann, bob


def opening_behind_it(stage: Stage, *, resumable: bool = False) -> tuple[Peer, Peer]:
    """Return the same, after the message has opened the conversation again; bob's opening is queued."""
    ann, bob = late_message(stage, resumable=resumable)
    stage.store.during_append.append(lambda: bob.execute(commands.Open(peer="ann")))
    stage.committer.commit()
    assert not stage.committer.idle
    return ann, bob


def refuse_what_is_queued(stage: Stage) -> None:
    """Let the store fail for what is queued, which is written because of a message behind it."""
    stage.enter("eve").send_message()
    stage.store.failing = "no room on the disk"
    stage.commit()


def queue_opening(stage: Stage) -> None:
    stage.enter("ann")
    stage.enter("bob").execute(commands.Open(peer="ann"))


def reopen(stage: Stage) -> None:
    late_message(stage)
    stage.commit()


def finish_an_opening_after_another_close(stage: Stage) -> None:
    ann, _ = opening_behind_it(stage)
    close_with(ann, "bob")
    stage.commit()


def fail_an_opening_after_another_close(stage: Stage) -> None:
    ann, _ = opening_behind_it(stage)
    close_with(ann, "bob")
    refuse_what_is_queued(stage)


def open_it(stage: Stage) -> None:
    stage.enter("ann")
    open_with(stage, stage.enter("bob"), "ann")


def reopen_in_front_of_an_opening(stage: Stage) -> None:
    _, bob = late_message(stage)
    open_with(stage, bob, "ann")


def fail_an_opening(stage: Stage) -> None:
    stage.store.failing = "no room on the disk"
    open_it(stage)


def save_closing(stage: Stage) -> None:
    _, bob = two(stage, resumable=True)
    close_with(bob, "ann")


def close(stage: Stage) -> None:
    _, bob = two(stage)
    close_with(bob, "ann")


def finish_an_opening_of_a_reopened_conversation(stage: Stage) -> None:
    opening_behind_it(stage)
    stage.commit()


def fail_an_opening_of_a_reopened_conversation(stage: Stage) -> None:
    opening_behind_it(stage)
    refuse_what_is_queued(stage)


def close_by_both(stage: Stage) -> None:
    ann, bob = two(stage, resumable=True)
    stage.during_wait.append(lambda: close_with(ann, "bob"))
    close_with(bob, "ann")


def finish_an_opening_while_closing(stage: Stage) -> None:
    ann, _ = opening_behind_it(stage, resumable=True)
    close_with(ann, "bob")


def fail_an_opening_while_closing(stage: Stage) -> None:
    ann, _ = opening_behind_it(stage, resumable=True)
    stage.store.failing = "no room on the disk"
    close_with(ann, "bob")


SCENARIOS: dict[tuple[ConversationState, ConversationEvent], Callable[[Stage], None]] = {
    (S.CLOSED, E.QUEUE_OPENING): queue_opening,
    (S.CLOSED, E.REOPEN): reopen,
    (S.CLOSED, E.OPENED): finish_an_opening_after_another_close,
    (S.CLOSED, E.FAIL): fail_an_opening_after_another_close,
    (S.OPENING, E.OPENED): open_it,
    (S.OPENING, E.REOPEN): reopen_in_front_of_an_opening,
    (S.OPENING, E.FAIL): fail_an_opening,
    (S.OPEN, E.SAVE_CLOSING): save_closing,
    (S.OPEN, E.CLOSE): close,
    (S.OPEN, E.OPENED): finish_an_opening_of_a_reopened_conversation,
    (S.OPEN, E.FAIL): fail_an_opening_of_a_reopened_conversation,
    (S.CLOSING, E.SAVE_CLOSING): close_by_both,
    (S.CLOSING, E.CLOSE): save_closing,
    (S.CLOSING, E.OPENED): finish_an_opening_while_closing,
    (S.CLOSING, E.FAIL): fail_an_opening_while_closing,
}


@pytest.mark.parametrize("pair", SCENARIOS, ids=pair_name)
def test_conversation_event_happens(stage: Stage, pair: tuple[ConversationState, ConversationEvent]) -> None:
    with recording() as reached:
        SCENARIOS[pair](stage)
    assert pair in reached.of(CONVERSATION_TRANSITIONS)
    stage.store.failing = None
    stage.commit()
    stage.check()


def test_every_conversation_event_is_reached() -> None:
    assert {*SCENARIOS} == {*pairs(CONVERSATION_TRANSITIONS)}
