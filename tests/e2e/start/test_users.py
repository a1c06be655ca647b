"""Users without a home folder, as in containers that run under any uid."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.processes.process import TIMEOUT_S, clean_environment, strangers_may_run
from support.processes.start import SERVER, STORE_IN_MEMORY


def start_as_stranger(*flags: str, home: str | None) -> "subprocess.Popen[str]":
    """Start the server as a user without an entry in /etc/passwd."""
    if not strangers_may_run():
        pytest.skip("only root may run programs as another user, and only where others may read")
    return subprocess.Popen(
        ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", SERVER, *flags],
        env={"PATH": "/usr/bin:/bin"} | ({} if home is None else {"HOME": home}),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


HOMES = [None, "", "relative", "/root"]


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("flags", [("--help",), ("--version",), ("--check", "--store", "memory")])
def test_user_without_home_may_ask_for_help(flags: tuple[str, ...], home: str | None) -> None:
    with start_as_stranger(*flags, home=home) as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, "Traceback" in said) == (0, False)


@pytest.mark.parametrize("home", HOMES)
def test_user_without_home_may_serve_from_memory(home: str | None) -> None:
    with start_as_stranger(*STORE_IN_MEMORY, home=home) as process:
        assert process.stdout is not None
        assert '"server_started"' in process.stdout.readline()
        process.terminate()
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "Greenroom listens" in said


@pytest.mark.parametrize("home", HOMES[:3])
def test_user_without_home_is_asked_for_a_data_folder(home: str | None) -> None:
    with start_as_stranger("--port", "0", home=home) as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, said.count("\n")) == (2, 1)
    assert "--data-dir" in said


def test_python_module_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chat_server", "--version"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "chat-server")
