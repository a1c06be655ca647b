from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_server.engines.sqlite.log import SqliteEngine
from support.core_stage.moves import close_with, come_back, fill_outbox, open_with, send_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from support.core_stage.stage import Stage


def inline(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@pytest.mark.parametrize("looked", [False, True], ids=["no tick", "tick"])
def test_message_of_an_unconfirmed_conversation_survives_another_opening_and_a_restart(
    make_stage: type[Stage],
    tmp_path: Path,
    looked: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    def restart() -> Stage:
        nonlocal engine
        engine.close()
        engine = SqliteEngine(tmp_path / "log.db", full_sync=False, offload=inline, read_offload=inline)
        return make_stage(store=engine)

    # Given that ann was sent `opened`, a message and `closed`, and TCP has acknowledged none of that
    engine = SqliteEngine(tmp_path / "log.db", full_sync=False, offload=inline, read_offload=inline)
    stage = make_stage(store=engine)
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
    stage = restart()
    late = come_back(stage, ann, lobby=0)
    stage.run_backfill()
    # Then she gets all of it
    kinds = [frame["type"] for frame in late.frames if frame.get("room") == "@ann,bob"]
    assert kinds == ["message", "closed"]
    engine.close()
