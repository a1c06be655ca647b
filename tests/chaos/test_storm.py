"""A storm of messages while one reader stands still: it is not cut off, and reads everything afterwards.

What this costs in memory and in others' latency is measured, and judged, by `make chaos` alone.
"""

from pathlib import Path

from chaos.scenarios import storm
from chaos.stage import ScenarioSize


def test_stopped_reader_reads_everything_afterwards(tmp_path: Path) -> None:
    figures = storm.run(tmp_path, ScenarioSize(seed="short", receivers=5, senders=2, text_bytes=1000), 5_000)
    assert figures["deliveries"] == 6 * 5_000
