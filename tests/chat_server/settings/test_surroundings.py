"""Settings where the environment is another program's, and for users without a home folder."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from chat_server.settings.load import Config, ConfigError, gather

NO_ENVIRONMENT: Mapping[str, str] = {}


@pytest.fixture(autouse=True)
def _no_settings_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# ---- the environment that others set


def test_flag_hides_variable_and_file_which_are_not_judged(tmp_path: Path) -> None:
    path = toml(tmp_path, "port = 'seven'\nmax-rooms = 3")
    environ = {"CHAT_PORT": "many", "CHAT_CONFIG": "/nowhere"}
    gathered = gather(["--port", "3", "--config", path], environ)
    assert (gathered.config.port, gathered.config.max_rooms, gathered.notes) == (3, 3, [])
    assert gathered.sources == {"port": "--port", "max_rooms": f"{path}: max-rooms"}


def test_variables_of_a_kubernetes_service_are_ignored_and_explained() -> None:
    environ = {
        "CHAT_PORT": "tcp://10.96.1.2:7072",
        "CHAT_SERVICE_HOST": "10.96.1.2",
        "CHAT_SERVICE_PORT": "7072",
        "CHAT_PORT_7072_TCP": "tcp://10.96.1.2:7072",
        "CHAT_PORT_7072_TCP_ADDR": "10.96.1.2",
    }
    config, _, (note,), _ = gather([], environ)
    assert config.port == Config().port
    assert "CHAT_PORT=tcp://10.96.1.2:7072 is ignored" in note
    assert gather(["--port", "1"], environ).notes == []


def test_misspelt_variable_is_noted_with_the_nearest() -> None:
    (note,) = gather([], {"CHAT_PROT": "1"}).notes
    assert "CHAT_PROT is ignored" in note
    assert "CHAT_PORT" in note


# ---- users without a home


@pytest.fixture
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "relative")

    def nobody(_uid: int) -> object:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)


@pytest.mark.usefixtures("_no_home")
def test_without_home_a_data_folder_is_needed_only_if_it_is_used(tmp_path: Path) -> None:
    gather(["--store", "memory"], NO_ENVIRONMENT)
    gather(["--store", "sqlite:////srv/chat.db"], NO_ENVIRONMENT)
    assert gather(["--data-dir", str(tmp_path)], NO_ENVIRONMENT).config.data_dir == tmp_path
    with pytest.raises(ConfigError, match="no --data-dir is given, and the home folder of this user"):
        gather([], NO_ENVIRONMENT)
    with pytest.raises(ConfigError, match="--data-dir"):  # for the log
        gather(["--store", "memory", "--console"], NO_ENVIRONMENT)


@pytest.mark.usefixtures("_no_home")
@pytest.mark.parametrize(
    "argv", [["--data-dir=~/x"], ["--log-file=~/x"], ["--store=sqlite:///~/x"], ["--config=~/x"]]
)
def test_without_home_a_path_below_it_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match="home folder of this user is unknown"):
        gather(argv, NO_ENVIRONMENT)


@pytest.mark.usefixtures("_no_home")
def test_help_without_home_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        gather(["--help"], NO_ENVIRONMENT)
    assert stop.value.code == 0
    assert "the home folder is unknown" in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_default_file_that_may_not_be_read_is_ignored_with_a_note(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "greenroom"
    (folder / "chat-server.toml").mkdir(parents=True)  # a folder cannot be read as a file, not even by root
    gathered = gather([], NO_ENVIRONMENT)
    assert gathered.config.port == Config().port
    (note,) = gathered.notes
    assert "chat-server.toml' cannot be read and is ignored: Is a directory" in note
