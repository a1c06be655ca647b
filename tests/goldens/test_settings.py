"""Each setting may be in a file and in the environment, under the names that it had."""

import re
from pathlib import Path

import pytest

from goldens import book
from support.processes.fixtures import StartServer

OF_THE_SERVER = book.read("options.txt").partition("== chat-server\n")[2].partition("\n\n")[0]
SETTINGS = re.findall(r"^--(\S+?)(?:,| (\S+)) .*?\[default (.*?); (CHAT_\w+)", OF_THE_SERVER, re.MULTILINE)
FOLDERS = {"store", "data-dir", "log-file"}


def values(folder: Path) -> dict[str, tuple[str, str]]:
    """Return a value by setting that is allowed, and the environment variable."""
    found = {}
    for name, metavar, default, variable in SETTINGS:
        value = {"off": "false", "this machine's name": "tower"}.get(default, default)
        if name in FOLDERS:
            value = "memory" if name == "store" else str(folder / name)
        elif name == "port":
            value = "0"
        assert metavar or value == "false"
        found[name] = (value, variable)
    return found


def test_the_settings_are_read_off_the_golden() -> None:
    assert len(SETTINGS) == OF_THE_SERVER.count("CHAT_") - 1  # CHAT_CONFIG is none
    assert {"host", "port", "console", "sync", "rate-bytes", "resume-hold"} <= {name for name, *_ in SETTINGS}


@pytest.mark.parametrize("dash", ["-", "_"])
def test_a_file_may_set_them_all(dash: str, start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    lines = [
        f"{name.replace('-', dash)} = {value if value == 'false' else repr(value)}"
        for name, (value, _) in values(tmp_path).items()
    ]
    file.write_text("\n".join(lines))
    server = start_server("--config", str(file), "--sync", "never", wait=False)
    assert server.wait_exit() == 2
    assert server.stderr_text().startswith("chat-server: --sync:"), (
        server.stderr_text()
    )  # flags are read last


def test_the_environment_may_set_them_all(start_server: StartServer, tmp_path: Path) -> None:
    environ = {variable: value for value, variable in values(tmp_path).values()}
    server = start_server("--sync", "never", environ=environ, wait=False)
    assert server.wait_exit() == 2
    assert server.stderr_text().startswith("chat-server: --sync:"), server.stderr_text()
