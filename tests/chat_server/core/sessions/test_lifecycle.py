"""The life of a session: every pair of state and event, and how the server gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chat_protocol import commands
from chat_server.core.sessions import detached
from chat_server.core.sessions.lifecycle import SESSION_TRANSITIONS, SessionEvent, SessionState
from chat_server.core.sessions.session import BaseSession
from chat_server.engines.sqlite.log import SqliteEngine
from support.core_stage.moves import come_back, cut, end_expired, expire
from support.engines.kinds import open_sqlite
from support.transition_matrix import applied_states, pair_name, pairs, recording, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.core_stage.stage import Stage

S, E = SessionState, SessionEvent


def test_session_allows_these_events_and_no_others() -> None:
    session: BaseSession[Any] = BaseSession(detached.LINK, detached.OUTBOX, 0.0)
    assert applied_states(session, SessionState, SessionEvent) == words("""
                  ACTIVATE  RESTORE  LEAVE    HOLD  RESUME  EXPIRE    CLOSE
        UNNAMED   ACTIVE    HELD     LEAVING  -     -       -         CLOSED
        ACTIVE    -         -        LEAVING  HELD  -       -         CLOSED
        LEAVING   -         -        LEAVING  -     -       -         CLOSED
        HELD      -         -        -        -     ACTIVE  EXPIRING  CLOSED
        EXPIRING  -         -        -        -     -       -         CLOSED
        CLOSED    -         -        -        -     -       -         -
    """)


def activate(stage: Stage) -> None:
    stage.enter("ann")


def quit_before_hello(stage: Stage) -> None:
    stage.connect().execute(commands.Quit())


def disconnect_before_hello(stage: Stage) -> None:
    stage.connect().disconnect()


def quit_session(stage: Stage) -> None:
    stage.enter("ann").execute(commands.Quit())


def quit_and_disconnect(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.execute(commands.Quit())
    ann.disconnect()


def quit_while_kicked(stage: Stage) -> None:
    """The operator kicks a user that has quit, and waits for its last message to be stored."""
    ann = stage.enter("ann")
    ann.send_message()
    stage.during_wait.append(lambda: stage.hub.lifecycle.kick(ann.session.identity))
    ann.execute(commands.Quit())


def disconnect(stage: Stage) -> None:
    cut(stage.enter("ann"))


def hold(stage: Stage) -> None:
    cut(stage.enter("ann", resumable=True))


def hold_and_resume(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    come_back(stage, ann)


def hold_and_expire(stage: Stage) -> None:
    hold(stage)
    expire(stage)


def hold_and_kick(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    stage.hub.lifecycle.kick(ann.session.identity)


def hold_expire_and_end(stage: Stage) -> None:
    hold_and_expire(stage)
    end_expired(stage)


SCENARIOS: dict[tuple[SessionState, SessionEvent], Callable[[Stage], None]] = {
    (S.UNNAMED, E.ACTIVATE): activate,
    (S.UNNAMED, E.LEAVE): quit_before_hello,
    (S.UNNAMED, E.CLOSE): disconnect_before_hello,
    (S.ACTIVE, E.LEAVE): quit_session,
    (S.ACTIVE, E.HOLD): hold,
    (S.ACTIVE, E.CLOSE): disconnect,
    (S.LEAVING, E.LEAVE): quit_while_kicked,
    (S.LEAVING, E.CLOSE): quit_and_disconnect,
    (S.HELD, E.RESUME): hold_and_resume,
    (S.HELD, E.EXPIRE): hold_and_expire,
    (S.HELD, E.CLOSE): hold_and_kick,
    (S.EXPIRING, E.CLOSE): hold_expire_and_end,
}


@pytest.mark.parametrize("pair", SCENARIOS, ids=pair_name)
def test_session_event_happens(stage: Stage, pair: tuple[SessionState, SessionEvent]) -> None:
    with recording() as reached:
        SCENARIOS[pair](stage)
    assert pair in reached.of(SESSION_TRANSITIONS)


def test_session_is_restored_by_a_start(make_stage: type[Stage], tmp_path: Path) -> None:
    def open_engine() -> SqliteEngine:
        return open_sqlite(tmp_path / "log.db")

    engine = open_engine()
    make_stage(store=engine).enter("ann", resumable=True)
    engine.close()
    engine = open_engine()
    with recording() as reached:
        hub = make_stage(store=engine).hub
    engine.close()
    assert hub.directory["ann"].sessions[0].state is SessionState.HELD
    assert reached.of(SESSION_TRANSITIONS) == {(S.UNNAMED, E.RESTORE)}


def test_every_session_event_is_reached() -> None:
    assert {*SCENARIOS, (S.UNNAMED, E.RESTORE)} == {*pairs(SESSION_TRANSITIONS)}
