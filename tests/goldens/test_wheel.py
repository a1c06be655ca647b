"""docs/examples is type-checked against the built wheel: what pip installs, not this source tree."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the build backend that is installed, and unpack it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    (built,) = folder.glob("greenroom-*.whl")
    unpacked = folder / "site-packages"
    zipfile.ZipFile(built).extractall(unpacked)
    return unpacked


def test_examples_pass_strict_mypy_against_the_wheel(wheel: Path, tmp_path: Path) -> None:
    examples = sorted((ROOT / "docs" / "examples").glob("*.py"))
    assert examples
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull),
            *("--cache-dir", str(tmp_path / "cache"), *map(str, examples)),
        ],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    roots = (
        "server/chat_cli",
        "server/chat_protocol",
        "server/chat_server",
        "client/chat_client",
        "loadtest/chat_swarm",
        "ops/chat_ops",
    )
    tracked = subprocess.run(
        ["git", "ls-files", *roots], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for path in tracked:
        if (ROOT / path).is_file():
            assert (wheel / path.partition("/")[2]).is_file(), path
