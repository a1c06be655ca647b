"""Random plays of the whole core come out as they were recorded, to the last byte (support/plays).

A digest that differs means that the core behaves differently: that peers receive other bytes, that the store
holds other rows, or that the state has changed otherwise. What changes on purpose is recorded again.
"""

from enum import IntEnum
from typing import Any, Final

import pytest

from chat_server.core.base.transitions import TransitionTable
from chat_server.core.chat.conversation import CONVERSATION_TRANSITIONS, ConversationEvent, ConversationState
from chat_server.core.sessions.lifecycle import SESSION_TRANSITIONS, SessionEvent, SessionState
from chat_server.core.sessions.membership import MEMBERSHIP_TRANSITIONS, MembershipEvent, MembershipState
from support.plays import digests
from support.plays.play import perform
from support.transition_matrix import pairs, recording

BLOCK = 50
TRANSITION_SEEDS = (*range(1, 41), 140, 317)
RARE: Final[dict[TransitionTable[Any, Any], set[tuple[IntEnum, IntEnum]]]] = {
    SESSION_TRANSITIONS: {(SessionState.LEAVING, SessionEvent.LEAVE)},
    MEMBERSHIP_TRANSITIONS: {
        (MembershipState.LAGGING, MembershipEvent.SEND_CLOSED),
        (MembershipState.UNCONFIRMED, MembershipEvent.JOIN_LAGGING),
    },
    CONVERSATION_TRANSITIONS: {
        (ConversationState.CLOSED, ConversationEvent.OPENED),
        (ConversationState.CLOSED, ConversationEvent.FAIL),
        (ConversationState.OPEN, ConversationEvent.FAIL),
        (ConversationState.CLOSING, ConversationEvent.OPENED),
        (ConversationState.CLOSING, ConversationEvent.FAIL),
    },
}
"""Pairs that so few plays do not reach. The tests of each table (`test_conversation.py`) reach all pairs."""


@pytest.mark.parametrize("first", range(digests.SEEDS.start, digests.SEEDS.stop, BLOCK))
def test_play_comes_out_as_recorded(first: int) -> None:
    recorded = digests.recorded()
    differing = [seed for seed in range(first, first + BLOCK) if digests.digest(seed) != recorded[seed]]
    assert not differing, (
        f"seed {differing[0]} plays differently. Its transcript: "
        f"PYTHONPATH=tests python -m support.plays {differing[0]}; the difference to another version: "
        f"PYTHONPATH=tests python -m support.plays --compare CHECKOUT --seeds {differing[0]}; "
        "if the change is intended: PYTHONPATH=tests python -m support.plays --record"
    )


def test_plays_reach_every_transition_but_rare_ones() -> None:
    with recording() as reached:
        for seed in TRANSITION_SEEDS:
            perform(seed)
    for table, rare in RARE.items():
        assert reached.of(table) | rare == {*pairs(table)}
