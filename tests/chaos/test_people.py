"""Short run of real clients with a bad network and a killed server."""

from pathlib import Path

from chaos.scenarios import people
from chaos.stage import ScenarioSize


def test_programs_see_everything_once_and_in_order(tmp_path: Path) -> None:
    figures = people.run(tmp_path, ScenarioSize(seed="short", receivers=5, senders=3, rooms=2), 1)
    assert figures["returns"] >= 4
    assert figures["acknowledged"] == figures["sent"]
