"""Short runs of the network faults."""

from dataclasses import replace
from pathlib import Path

from chaos.scenarios import network, slow
from chaos.scenarios.slow import Fate
from chaos.stage import ScenarioSize

SHORT = ScenarioSize(seed="short", receivers=8, senders=4, rooms=3, messages_per_s=40, moves_per_s=10)


def test_clients_cut_in_mid_frame_miss_nothing(tmp_path: Path) -> None:
    figures = network.cuts(tmp_path, SHORT, 25)
    assert figures["cuts"] > 10
    assert figures["resumed"] > 10


def test_a_connection_that_hangs_is_replaced(tmp_path: Path) -> None:
    figures = network.take_overs(tmp_path, SHORT, 10)
    assert figures["replaced"] > 2


def test_delays_single_bytes_and_resets_lose_nothing(tmp_path: Path) -> None:
    figures = network.through_proxy(tmp_path, SHORT, 1.0)
    assert figures["resumed"] > 0


def test_lagging_readers_with_killed_server_lose_nothing(tmp_path: Path) -> None:
    figures = slow.run(tmp_path, replace(SHORT, moves_per_s=0), 1, [Fate.KILL_LATER])
    assert figures["behind"] > 3_000
    assert figures["resumed"] >= 1
