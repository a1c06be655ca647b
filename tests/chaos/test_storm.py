"""A message storm with a stopped reader: it stays connected, and reads everything afterwards.

Memory and latency are judged by `make chaos` only.
"""

from pathlib import Path

from chaos.scenarios import storm
from chaos.stage import ScenarioSize


def test_stopped_reader_reads_everything_afterwards(tmp_path: Path) -> None:
    figures = storm.run(tmp_path, ScenarioSize(seed="short", receivers=5, senders=2, text_bytes=1000), 5_000)
    assert figures["deliveries"] == 6 * 5_000
