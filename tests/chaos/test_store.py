"""Short runs of store failures, clock jumps and power loss."""

from pathlib import Path

from chaos.scenarios import clock, outage, store
from chaos.stage import ScenarioSize

SHORT = ScenarioSize(seed="short", receivers=6, senders=4, rooms=2, messages_per_s=40)
TROUBLES = ["full disk", "EIO", "locked"]


def test_a_failing_store_loses_nothing_and_comes_back(tmp_path: Path) -> None:
    figures = store.run(tmp_path, SHORT, TROUBLES, 1, longest=0.2)
    assert figures["starts"] == 1
    assert figures["refusals"] >= len(TROUBLES)


def test_a_clock_set_back_changes_no_order(tmp_path: Path) -> None:
    assert clock.run(tmp_path, SHORT, 2)["acknowledged"] > 0


def test_power_loss_changes_epoch(tmp_path: Path) -> None:
    figures = outage.run(tmp_path, SHORT, 1, first=0.8)
    assert figures["unsynced commits"] > 0
    assert figures["cut off"] > 0


def test_power_loss_with_full_sync_loses_nothing(tmp_path: Path) -> None:
    figures = outage.run(tmp_path, SHORT, 1, synced=True, first=0.2)
    assert figures["lost"] == 0
    assert figures["resumed"] > 0
