import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from chat_server.settings.load import Config, ConfigError, flag, load, reload_limits, variable
from chat_server.settings.table import SETTINGS

NO_ENVIRONMENT: Mapping[str, str] = {}


@pytest.fixture(autouse=True)
def _no_settings_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def toml(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def complaint(
    capsys: pytest.CaptureFixture[str], argv: list[str], environ: Mapping[str, str] = NO_ENVIRONMENT
) -> str:
    """Return the one line that `load` writes before it gives up with code 2."""
    with pytest.raises(SystemExit) as stop:
        load(argv, environ)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("chat-server: ")
    return err.removeprefix("chat-server: ").removesuffix("\n")


# ---- the defaults


def test_load_without_sources_gives_defaults() -> None:
    assert load([], NO_ENVIRONMENT) == Config()


def test_every_default_is_valid_for_its_type() -> None:
    defaults = Config()
    for name, setting in SETTINGS.items():
        default = getattr(defaults, name)
        if name != "store":  # empty means: the file in the data folder
            assert setting.value_type.read(setting.value_type.show(default)) == default, name


def test_default_store_is_file_in_data_folder(tmp_path: Path) -> None:
    assert load(["--data-dir", str(tmp_path)], NO_ENVIRONMENT).store_path == tmp_path / "greenroom.db"


# ---- the three sources


def test_flag_overrides_environment_overrides_file_overrides_default(tmp_path: Path) -> None:
    path = toml(tmp_path, "port = 1\nmax-rooms = 1\nmax_conversations = 1")
    environ = {"CHAT_PORT": "2", "CHAT_MAX_ROOMS": "2", "CHAT_CONFIG": path}

    config = load(["--port", "3"], environ)

    assert (config.port, config.max_rooms, config.max_conversations) == (3, 2, 1)
    assert config.memory_messages == Config().memory_messages


def test_every_setting_can_be_given_in_every_source(tmp_path: Path) -> None:
    other: dict[str, str] = {
        "host": "::1",
        "node": "east-1",
        "store": "memory",
        "sync": "full",
        "data_dir": "/srv/chat",
        "log_file": "/var/log/chat.log",
        "log_level": "debug",
        "workers": "1",
        "metrics_host": "::1",
    }
    for name, setting in SETTINGS.items():
        if setting.value_type.metavar == "":
            other[name] = "true"
        elif name not in other:
            other[name] = str(
                int(getattr(Config(), name) + 70_000 if "BYTES" in setting.value_type.metavar else 77)
            )
    other["port"] = "77"

    flags = [
        part
        for name, text in other.items()
        for part in ([flag(name)] if text == "true" else [flag(name), text])
    ]
    by_flag = load(flags, NO_ENVIRONMENT)
    by_variable = load([], {variable(name): text for name, text in other.items()})
    lines = [
        f"{name} = {text if text == 'true' or text.isdecimal() else repr(text)}"
        for name, text in other.items()
    ]
    by_file = load(["--config", toml(tmp_path, "\n".join(lines))], NO_ENVIRONMENT)

    assert by_flag == by_variable == by_file
    same = [name for name in SETTINGS if getattr(by_flag, name) == getattr(Config(), name)]
    assert same == ["workers"]  # of which there is one


def test_config_flag_overrides_config_variable(tmp_path: Path) -> None:
    assert load(["--config", toml(tmp_path, "port = 9")], {"CHAT_CONFIG": "/nowhere"}).port == 9


def test_default_config_file_is_read_if_it_exists(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "greenroom"
    folder.mkdir(parents=True)
    (folder / "chat-server.toml").write_text("port = 8", encoding="utf-8")
    assert load([], NO_ENVIRONMENT).port == 8
    assert load(["--config", "/dev/null"], NO_ENVIRONMENT).port == Config().port


def test_empty_variable_counts_as_not_set() -> None:
    assert load([], {"CHAT_PORT": "", "CHAT_CONFIG": ""}) == Config()


def test_switch_can_be_turned_off_by_a_later_source(tmp_path: Path) -> None:
    path = toml(tmp_path, "console = true")
    assert load(["--config", path], NO_ENVIRONMENT).console
    assert not load(["--config", path], {"CHAT_CONSOLE": "off"}).console
    assert not load(["--config", path, "--no-console"], {"CHAT_CONSOLE": "1"}).console


# ---- values


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--rate-bytes", "64K"], "rate_bytes", 65_536),
        (["--ingest-bytes", "16m"], "ingest_bytes", 16 * 2**20),
        (["--disk-warning-bytes", "2GiB"], "disk_warning_bytes", 2 * 2**30),
        (["--rate-bytes", "0"], "rate_bytes", 0),
        (["--rate-messages", "0.5"], "rate_messages", 0.5),
        (["--port", "0"], "port", 0),
        (["--host", "[::1]"], "host", "::1"),
        (["--host", "fe80::1%eth0"], "host", "fe80::1%eth0"),
        (["--host", "chat.example.org"], "host", "chat.example.org"),
        (["--log-file", "-"], "log_file", ""),
        (["--sync", "FULL"], "sync", "full"),
        (["--data-dir=~/chat"], "data_dir", Path("~/chat").expanduser()),
    ],
)
def test_value_in_any_notation_is_read(argv: list[str], name: str, value: object) -> None:
    assert getattr(load(argv, NO_ENVIRONMENT), name) == value


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("memory", None),
        ("sqlite:///chat.db", Path("chat.db")),
        ("sqlite:////var/lib/chat.db", Path("/var/lib/chat.db")),
        ("sqlite:///~/chat.db", Path("~/chat.db").expanduser()),
    ],
)
def test_store_url_gives_path(url: str, path: Path | None) -> None:
    assert load(["--store", url], NO_ENVIRONMENT).store_path == path


# ---- wrong values


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "7072.0"),
        ("port", "seven"),
        ("port", "7_072"),
        ("port", "٣"),  # a digit to Python, not to a reader of the log
        ("workers", "2"),
        ("workers", "0"),
        ("host", "127.0.0.1:7072"),
        ("host", "[127.0.0.1]"),
        ("host", "tcp://x"),
        ("node", "a b"),
        ("node", "x" * 65),
        ("node", "\x1b[2J"),
        ("store", "postgresql://localhost/chat"),
        ("store", "sqlite://"),
        ("store", "sqlite:///"),
        ("store", "sqlite:////"),
        ("store", "sqlite:////var/lib/"),
        ("store", "sqlite:///:memory:"),
        ("store", "sqlite:///x?mode=ro"),
        ("store", "chat.db"),
        ("sync", "off"),
        ("log_level", "loud"),
        ("rate_messages", "nan"),
        ("rate_messages", "inf"),
        ("rate_messages", "-0.1"),
        ("rate_messages", "many"),
        ("rate_bytes", "1KB"),
        ("rate_bytes", "1.5K"),
        ("rate_bytes", "K"),
        ("outbox_bytes", "1K"),
        ("ping_interval", "0"),
    ],
)
def test_invalid_value_error_names_source_value_and_range(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = f"must be {SETTINGS[name].value_type.allowed}, not {text!r}"
    path = toml(tmp_path, f"{flag(name)[2:]} = {escaped(text)}")

    assert complaint(capsys, [f"{flag(name)}={text}"]) == f"{flag(name)}: {allowed}"
    assert complaint(capsys, [], {variable(name): text}) == f"{variable(name)}: {allowed}"
    assert complaint(capsys, ["--config", path]) == f"{path}: {flag(name)[2:]}: {allowed}"


def escaped(text: str) -> str:
    """Return `text` as a TOML string."""
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text) + '"'


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("port = true", "True"),
        ("port = 1.0", "1.0"),
        ("port = [1]", "a list"),
        ("port = {a = 1}", "a dict"),
        ("port = 1979-05-27", "a date"),
        ("console = 1.5", "1.5"),
        ('console = "maybe"', "'maybe'"),
        ("rate_bytes = 1.5", "1.5"),
        ("rate_messages = false", "False"),
        ("log_file = 1", "1"),
        ('log_file = "a\\u0000b"', r"'a\x00b'"),
        ('data_dir = ""', "''"),
        ("host = 4", "4"),
        ("store = 4", "4"),
        ("sync = 4", "4"),
        ("node = 4", "4"),
    ],
)
def test_invalid_type_in_file_is_an_error(
    line: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toml(tmp_path, line)
    name = line.partition(" ")[0]
    assert (
        complaint(capsys, ["--config", path])
        == f"{path}: {name}: must be {SETTINGS[name].value_type.allowed}, not {shown}"
    )


def test_more_than_one_worker_is_refused_with_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert "only one worker process so far" in complaint(capsys, ["--workers", "4"])


def test_password_in_invalid_url_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, ["--store", "postgresql://ann:hush@db/chat"])
    assert "hush" not in said
    assert "postgresql://ann:***@db/chat" in said


def test_unknown_flag_error_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean --rate-messages?" in complaint(capsys, ["--rate-mesages=5"])
    assert "did you mean --config?" in complaint(capsys, ["--confg", "x"])
    assert "'stray' is not known (" in complaint(capsys, ["stray"])
    assert "'--rate-m' is not known" in complaint(capsys, ["--rate-m", "5"])  # no abbreviations


def test_flag_without_value_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, ["--port"]).startswith("--port: expected one argument")


def test_unknown_key_error_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toml(tmp_path, "rate-mesages = 5")
    said = f"{path}: 'rate-mesages' is not a setting; did you mean rate-messages?"
    assert complaint(capsys, ["--config", path]) == said
    path = toml(tmp_path, "[limits]\nport = 5")
    assert complaint(capsys, ["--config", path]).startswith(f"{path}: 'limits' is not a setting")


def test_key_in_both_spellings_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toml(tmp_path, "max-rooms = 5\nmax_rooms = 6")
    assert "max_rooms is given twice" in complaint(capsys, ["--config", path])


def test_file_without_toml_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toml(tmp_path, "port = 1\nhost = ?")
    said = complaint(capsys, [], {"CHAT_CONFIG": path})
    assert said.startswith(f"CHAT_CONFIG: '{path}': ")
    assert "line 2" in said


def test_unreadable_named_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, ["--config", "/nowhere"]) == "--config: '/nowhere': No such file or directory"
    assert "Not a directory" in complaint(capsys, [], {"CHAT_CONFIG": "/dev/null/x"})
    assert "Is a directory" in complaint(capsys, ["--config", str(tmp_path)])
    assert "--config: ''" in complaint(capsys, ["--config", ""])


# ---- help and version


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_help_lists_every_setting_with_unit_default_reason_and_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as stop:
        load(["--help"], NO_ENVIRONMENT)
    shown = words(capsys.readouterr().out)
    assert stop.value.code == 0
    for name, setting in SETTINGS.items():
        default = setting.shown or setting.value_type.show(getattr(Config(), name))
        unit = f"{setting.unit}; " if setting.unit else ""
        assert f" {flag(name)}" in shown
        assert f"{setting.reason} [{unit}" in shown
        assert f"default {default}; {variable(name)}" in shown
    assert "0: no limit; default 100; CHAT_RATE_MESSAGES; read again on SIGHUP]" in shown


def test_numeric_settings_have_a_unit() -> None:
    numeric = {"N", "BYTES", "SECONDS"}
    assert [name for name, s in SETTINGS.items() if s.value_type.metavar in numeric and not s.unit] == []


def test_version_is_that_of_the_package() -> None:
    code = "import sys; from chat_server.settings.load import load; load(sys.argv[1:], {})"
    server = Path(__file__).parents[3] / "server"
    run = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env={**os.environ, "PYTHONPATH": str(server)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"chat-server \d+\.\d+\.\d+\S*\n", run.stdout)


# ---- reload


def test_reload_changes_reloadable_settings_only(tmp_path: Path) -> None:
    argv = ["--config", toml(tmp_path, "rate-messages = 5\nport = 1")]
    before = load(argv, NO_ENVIRONMENT)
    toml(tmp_path, "rate-messages = 6\nmax-rooms = 7\nport = 2")

    after = reload_limits(before, argv, NO_ENVIRONMENT)

    assert (after.config.rate_messages, after.config.max_rooms, after.config.port) == (6, 7, 1)
    assert after.changed == {"rate_messages": 6, "max_rooms": 7}
    assert after.restart_needed == ["port"]


def test_reload_of_invalid_settings_raises(tmp_path: Path) -> None:
    argv = ["--config", toml(tmp_path, "")]
    before = load(argv, NO_ENVIRONMENT)
    toml(tmp_path, "port = -1")
    with pytest.raises(ConfigError, match="port: must be a whole number"):
        reload_limits(before, argv, NO_ENVIRONMENT)


def test_reloadable_settings_are_rates_and_maxima() -> None:
    expected = {name for name in SETTINGS if name.startswith(("rate_", "max_"))} | {"limit_loopback"}
    assert {name for name, setting in SETTINGS.items() if setting.reloadable} == expected
