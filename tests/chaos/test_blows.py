"""The server is killed under load, in short; `make chaos` does it a hundred times."""

from pathlib import Path

import pytest

from chaos.plan import Blow
from chaos.scenarios import blows
from chaos.stage import ScenarioSize

SHORT = ScenarioSize(seed="short", receivers=10, senders=4, rooms=3, messages_per_s=40, moves_per_s=10)


@pytest.mark.parametrize(("kinds", "count"), [([Blow.KILL], 3), ([Blow.TERM], 1)], ids=["kill", "term"])
def test_nothing_acknowledged_is_lost(tmp_path: Path, kinds: list[Blow], count: int) -> None:
    figures = blows.run(tmp_path, SHORT, count, kinds)
    assert figures["starts"] == count + 1
    assert figures["resumed"] >= count  # at least one session was resumed each time
    assert figures["acknowledged"] > 20


def test_another_program_may_look_into_the_data_file(tmp_path: Path) -> None:
    figures = blows.run(tmp_path, SHORT, 1, [Blow.KILL], peeks=True)
    assert figures["resumed"] > 0
