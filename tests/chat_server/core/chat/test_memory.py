"""How much memory others may take: counted by tracemalloc, not by what the process has."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chat_server.engines.sqlite import log
from support.core_stage.moves import say_hi_and_leave
from support.engines.kinds import open_sqlite

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_stranger_that_has_left_takes_little_memory(
    make_stage: type[Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a user, and as many strangers as it takes to make all tables of the server large
    monkeypatch.setattr(log, "AUTHORS_KEPT", 100)
    store = open_sqlite(tmp_path / "db")
    stage = make_stage(store=store)
    ann = stage.enter("ann")

    def come(first: int, count: int) -> None:
        say_hi_and_leave(stage, *(f"s{number}" for number in range(first, first + count)))
        stage.stored.clear()
        ann.outbox.data, ann._received = b"", 0
        stage.hub.stats.rooms.clear()  # of this interval
        gc.collect()

    tracemalloc.start()
    try:
        come(0, 600)
        # When some more have said hi, then each leaves at most so many bytes behind
        before = tracemalloc.get_traced_memory()[0]
        come(600, 400)
        each = (tracemalloc.get_traced_memory()[0] - before) / 400
        assert 500 < each < 1500
        # And when there are too many, nothing more
        come(1000, 600)
        before = tracemalloc.get_traced_memory()[0]
        come(1600, 400)
        assert (tracemalloc.get_traced_memory()[0] - before) / 400 < 50
    finally:
        tracemalloc.stop()
        store.close()
