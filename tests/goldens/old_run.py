"""How the old run of the swarm was made, as `old_data.py` says of the data: `python -m goldens old-run`."""

import subprocess
from pathlib import Path

from support.processes.process import BIN_DIR, TIMEOUT_S, ServerProcess, clean_environment

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).with_name("data") / "old-run"
FILES = ("summary.json", "timeline.csv", "histograms.json")
"""What is read of a run; the other files are made for people."""
FLAGS = (
    "-u",
    "4",
    "-r",
    "50",
    "-t",
    "3s",
    "--room-size",
    "2",
    "--message-rate",
    "5",
    "--ping-interval",
    "0.5",
)


def make(folder: Path) -> None:
    """Let the swarm run, and copy what it leaves to its place."""
    path = run(folder)
    DATA.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = (path / name).read_text()
        for place in (folder, ROOT / "tests" / "..", ROOT):
            text = text.replace(f"{place}/", "")
        (DATA / name).write_text(text)


def run(folder: Path) -> Path:
    """Run the swarm for 3 s; return the run's directory."""
    server = ServerProcess(folder, "--rate-messages", "0")
    path = folder / "run"
    try:
        subprocess.run(
            [
                *(BIN_DIR / "locust", "-f", ROOT / "loadtest" / "bots.py", "--headless", "--only-summary"),
                *("--host", f"127.0.0.1:{server.port}", "--report", path, *FLAGS),
            ],
            cwd=folder,
            env=clean_environment(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S * 4,
            check=True,
        )
    finally:
        server.kill()
    return path
