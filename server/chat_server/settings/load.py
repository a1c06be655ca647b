"""Loads the settings from flags, environment and a TOML file, in this order of precedence, then the defaults.

A variable that is set but empty counts as not set, as is usual for containers and unit files. Only the value
that counts is judged: a flag that is given hides what the environment and the file say.
"""

import argparse
import codecs
import difflib
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from chat_cli.environment import read_variables
from chat_server import __version__
from chat_server.settings.spec import Section
from chat_server.settings.table import SETTINGS, Config
from chat_server.settings.user_folders import (
    HOME_UNKNOWN,
    HomeUnknownError,
    expanded,
    user_config_folder,
    user_data_folder,
)

__all__ = ["Config", "ConfigError", "Gathered", "Reloaded", "gather", "load", "reload_limits"]

FILE_NAME: Final = "chat-server.toml"
FILE_VARIABLE: Final = "CHAT_CONFIG"
MAX_FILE_BYTES: Final = 2**20
MAX_SHOWN_CHARS: Final = 200
"""Of a value in a message."""


class ConfigError(ValueError):
    """A setting is invalid; the text is one line with the source, the value and the allowed values."""


class Gathered(NamedTuple):
    """The settings, and how they came to be."""

    config: Config
    sources: dict[str, str]
    """Where each setting that is not a default is from: its flag, its variable, or file and key."""
    notes: list[str]
    """Sentences for standard error about what was ignored."""
    check: bool
    """Whether to check the settings and end, instead of serving (`--check`)."""


class Reloaded(NamedTuple):
    """Result of reloading the settings."""

    config: Config
    """The settings now in force: only reloadable ones differ from before."""
    changed: dict[str, object]
    """The changed settings: new value by name."""
    restart_needed: list[str]
    """Names of settings that changed in the sources but need a restart."""


def gather(argv: Sequence[str], environ: Mapping[str, str]) -> Gathered:
    """Return the settings for these arguments (without the program name) and this environment.

    Raises `ConfigError` if one is invalid, and SystemExit as argparse does after `--help`.
    """
    return _read(argv, environ, again=False)


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Return the settings, or end with code 2 after a line on stderr about an invalid one."""
    try:
        return gather(argv, environ).config
    except ConfigError as error:
        sys.stderr.write(f"chat-server: {error}\n")
        raise SystemExit(2) from None


def reload_limits(current: Config, argv: Sequence[str], environ: Mapping[str, str]) -> Reloaded:
    """Read all sources again and return `current` with its reloadable settings updated.

    Raises `ConfigError` if anything in the sources is invalid; `current` then stays in force.
    """
    fresh = _read(argv, environ, again=True).config
    differing = {
        name: value for name in SETTINGS if (value := getattr(fresh, name)) != getattr(current, name)
    }
    changed = {name: value for name, value in differing.items() if SETTINGS[name].reloadable}
    return Reloaded(replace(current, **changed), changed, [name for name in differing if name not in changed])


def flag(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return "CHAT_" + name.upper()


def _read(argv: Sequence[str], environ: Mapping[str, str], *, again: bool) -> Gathered:
    flags = _parse(argv)
    check = flags.pop("check", False)
    by_flag = flags.pop("config", None)
    overridden = {variable(name) for name in flags} | ({FILE_VARIABLE} if by_flag is not None else set())
    known = [FILE_VARIABLE, *(variable(name) for name in SETTINGS)]
    variables, notes = read_variables(environ, known, overridden=overridden)
    given, note = _from_file(by_flag, variables.get(FILE_VARIABLE), again=again)
    for name in SETTINGS:
        if variable(name) in variables:
            given[name] = _Given(variables[variable(name)], variable(name))
        if name in flags:
            given[name] = _Given(flags[name], flag(name))
    config = Config(**{name: _read_value(name, one.value, one.source) for name, one in given.items()})
    if config.needs_data_dir and "data_dir" not in given and user_data_folder() is None:
        raise ConfigError(f"no --data-dir is given, and {HOME_UNKNOWN}, or give --store memory")
    return Gathered(config, {name: one.source for name, one in given.items()}, [*notes, *note], check)


class _Given(NamedTuple):
    """A value as it was given, and where."""

    value: object
    source: str


def _read_value(name: str, given: object, source: str) -> Any:
    value_type = SETTINGS[name].value_type
    try:
        return value_type.read(given)
    except HomeUnknownError as error:
        raise ConfigError(f"{source}: {_quoted(given)}: {error}") from None
    except ValueError:
        raise ConfigError(f"{source}: must be {value_type.allowed}, not {_quoted(given)}") from None


def _quoted(given: object) -> str:
    """Return a value for a message: one line, no control characters, the password of a URL hidden."""
    if not isinstance(given, str | int | float):
        return f"a {type(given).__name__}"
    if isinstance(given, str):
        given = re.sub(r"(://[^/@:]*:)[^/@]*@", r"\1***@", given)
    return _cut(repr(given))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


# ---- flags


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, raised as `ConfigError`."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{_cut(message.removeprefix('argument '))} (see chat-server --help)")


def _parse(argv: Sequence[str]) -> dict[str, Any]:
    parser = _parser()
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [f"--{name}" for name in ("help", "version", "config", "check")] + [
            flag(name) for name in SETTINGS
        ]
        parser.error(
            f"{_quoted(unknown[0])} is not known{_did_you_mean(unknown[0].partition('=')[0], known)}"
        )
    return vars(given)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="chat-server",
        description="Serve chat on one TCP port to any client: chat-client, nc, or JSON lines.",
        usage="chat-server [--FLAG VALUE ...]",
        epilog="Each setting may also be given in the environment or in a TOML file "
        f"({_default_file_shown()}, or the one that --config names), there without the leading dashes. Flags "
        "override the environment, the environment overrides the file. Sizes may be written as 64K, 16M or "
        "1G.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chat-server {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"TOML file with settings [{FILE_VARIABLE}]")
    parser.add_argument(
        "--check", action="store_true", help="check the settings and print them, instead of serving"
    )
    defaults = Config()
    groups = {section: parser.add_argument_group(section) for section in Section}
    for name, setting in SETTINGS.items():
        notes = [
            setting.unit,
            f"0: {setting.value_type.zero}" if setting.value_type.zero else "",
            f"default {setting.shown or _default_shown(name, getattr(defaults, name))}",
            variable(name),
            "read again on SIGHUP" if setting.reloadable else "",
        ]
        text = f"{setting.reason} [{'; '.join(note for note in notes if note)}]"
        how: dict[str, Any] = (
            {"metavar": setting.value_type.metavar}
            if setting.value_type.metavar
            else {"action": argparse.BooleanOptionalAction}
        )
        groups[setting.section].add_argument(flag(name), dest=name, help=text.replace("%", "%%"), **how)
    return parser


def _default_shown(name: str, default: object) -> str:
    if name == "data_dir" and user_data_folder() is None:
        return "none, as the home folder is unknown"
    return SETTINGS[name].value_type.show(default)


# ---- file


def _default_file() -> Path | None:
    folder = user_config_folder()
    return None if folder is None else folder / FILE_NAME


def _default_file_shown() -> str:
    return str(_default_file() or f"{FILE_NAME} in the user's folder for settings")


def _from_file(
    by_flag: str | None, by_variable: str | None, *, again: bool
) -> tuple[dict[str, _Given], list[str]]:
    """Return the values in the file by name, and a note if it is the default one and cannot be read."""
    named = by_flag if by_flag is not None else by_variable
    if named is None:
        path = _default_file()
        try:
            return ({} if path is None else _parsed(path, _read_text(path, again=again))), []
        except (FileNotFoundError, NotADirectoryError):
            return {}, []
        except OSError as error:
            return {}, [f"{_quoted(str(path))} cannot be read and is ignored: {error.strerror}"]
        except _NotTomlError as error:
            raise ConfigError(f"{_quoted(str(path))}: {error}") from None
    source = "--config" if by_flag is not None else FILE_VARIABLE
    try:
        path = expanded(named)
        return _parsed(path, _read_text(path, again=again)), []
    except OSError as error:
        raise ConfigError(f"{source}: {_quoted(named)}: {error.strerror}") from None
    except ConfigError:
        raise
    except ValueError as error:  # not TOML, not UTF-8, or no path at all
        raise ConfigError(f"{source}: {_quoted(named)}: {error}") from None


class _NotTomlError(ValueError):
    """The file is not TOML in UTF-8; the text says why."""


def _read_text(path: Path, *, again: bool) -> str:
    """Return the text of a file. Raises `OSError`, or `_NotTomlError` if it is not in UTF-8.

    `again`: the server runs, so that a pipe, which can be read once only, is refused.
    """
    if again and path.exists() and not path.is_file():
        raise _NotTomlError("it is not a regular file, and cannot be read again")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise _NotTomlError(f"it is larger than {MAX_FILE_BYTES} bytes, so it cannot be a file of settings")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        raise _NotTomlError("it is not UTF-8 text but UTF-16, or binary; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _NotTomlError(
            f"the byte 0x{data[error.start]:02X} in line {line} is not UTF-8; save the file as UTF-8"
        ) from None


def _parsed(path: Path, text: str) -> dict[str, _Given]:
    """Return the values in a text by the names of the settings. Raises `ConfigError` or `_NotTomlError`."""
    try:
        table = tomllib.loads(text)
    except ValueError as error:
        raise _NotTomlError(str(error)) from None
    except RecursionError:
        raise _NotTomlError("its lists or tables are nested too deeply") from None
    values: dict[str, _Given] = {}
    for key, given in table.items():
        name = key.replace("-", "_")
        if name not in SETTINGS:
            known = [known.replace("_", "-") if "-" in key else known for known in SETTINGS]
            raise ConfigError(f"{path}: {_quoted(key)} is not a setting{_did_you_mean(key, known)}")
        if name in values:
            raise ConfigError(f"{path}: {name} is given twice, with - and with _")
        values[name] = _Given(given, f"{path}: {key}")
    return values


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
