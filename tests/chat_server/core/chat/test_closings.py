from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_server.engines.sqlite.log import SqliteEngine
from support.core_stage.moves import close_with, come_back, fill_outbox, open_with, send_to
from support.engines.kinds import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from support.core_stage.stage import Stage


class Store:
    """A data file, and the servers that are started on it."""

    def __init__(self, make_stage: type[Stage], folder: Path) -> None:
        self._make_stage = make_stage
        self._path = folder / "log.db"
        self.engine = self._open()

    def _open(self) -> SqliteEngine:
        return open_sqlite(self._path)

    def start(self) -> Stage:
        """Start a server; the one before it has stopped without a word."""
        self.engine.close()
        self.engine = self._open()
        return self._make_stage(store=self.engine)


@pytest.mark.parametrize("looked", [False, True], ids=["no tick", "tick"])
def test_message_of_an_unconfirmed_conversation_survives_another_opening_and_a_restart(
    make_stage: type[Stage],
    tmp_path: Path,
    looked: bool,
) -> None:
    # Given that ann was sent `opened`, a message and `closed`, and TCP has acknowledged none of that
    store = Store(make_stage, tmp_path)
    stage = store.start()
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob", resumable=True)
    send_to(stage, bob, "ann")
    close_with(bob, "ann")
    # When it is opened and closed again without a message, while her outbox is full
    fill_outbox(ann)
    open_with(stage, bob, "ann")
    close_with(bob, "ann")
    if looked:
        stage.hub.closings.tick()
    stage.commit()
    # And the server restarts
    stage = store.start()
    late = come_back(stage, ann, lobby=0)
    stage.run_backfill()
    # Then she gets all of it
    kinds = [frame["type"] for frame in late.frames if frame.get("room") == "@ann,bob"]
    assert kinds == ["message", "closed"]
    store.engine.close()


@pytest.mark.parametrize("lagging", [False, True], ids=["unacknowledged", "lagging"])
def test_message_before_a_reopening_survives_a_restart(
    make_stage: type[Stage], tmp_path: Path, lagging: bool
) -> None:
    # Given a message of bob that ann has not received for certain
    store = Store(make_stage, tmp_path)
    stage = store.start()
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob", resumable=True)
    if lagging:
        fill_outbox(ann)
    send_to(stage, bob, "ann")
    # When bob closes the conversation, and a message of ann is queued while that is being stored
    append = store.engine.append

    def append_then_send(*rows: Any) -> Any:
        appended = append(*rows)
        store.engine.append = append  # type: ignore[method-assign]
        ann.send_message("reply", to="bob")
        return appended

    store.engine.append = append_then_send  # type: ignore[assignment, method-assign]
    close_with(bob, "ann")
    stage.commit()
    stage.committer.commit()
    # And the server restarts
    stage = store.start()
    late = come_back(stage, ann, lobby=0)
    stage.run_backfill()
    # Then she gets both
    assert [frame["message"] for frame in late.messages("@ann,bob")] == ["hi", "reply"]
    store.engine.close()


def test_close_of_a_user_that_is_renamed_meanwhile_closes_the_same_conversation(stage: Stage) -> None:
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    open_with(stage, ann, "bob")
    ann.receive()
    stage.during_wait.append(lambda: bob.execute(commands.Rename(username="robert")))
    close_with(ann, "bob")
    stage.commit()
    closed = ann.receive("closed")
    assert [(frame["room"], frame["with"]) for frame in closed] == [("@ann,bob", "robert")]
    stage.check()
