"""A run whose result cannot be printed: it is in its directory, and the exit code says so."""

import subprocess
from pathlib import Path

import pytest

from chat_swarm.results.run_directory import read_run
from support.processes.process import BIN_DIR, ServerProcess, clean_environment
from support.swarm.swarm_runs import LOCUSTFILE, RUN_TIMEOUT_S


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("> /dev/full", 2, "The result could not be written to standard output: No space left on device"),
        ("| true", 0, ""),
    ],
)
def test_run_whose_result_cannot_be_printed_is_kept(
    arena: ServerProcess, tmp_path: Path, redirection: str, code: int, said: str
) -> None:
    done = subprocess.run(
        [
            *(
                "bash",
                "-o",
                "pipefail",
                "-c",
                f'"$@" {redirection}',
                "bash",
                BIN_DIR / "locust",
                "-f",
                LOCUSTFILE,
            ),
            *(
                "--headless",
                "--only-summary",
                "--host",
                f"127.0.0.1:{arena.port}",
                "--report",
                tmp_path / "run",
            ),
            *("-u", "4", "-r", "50", "-t", "1s", "--room-prefix", f"unwritable{code}", "--room-size", "2"),
        ],
        env=clean_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert read_run(tmp_path / "run").summary.passed
