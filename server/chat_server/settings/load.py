"""Loads the settings from flags, environment and a TOML file, in this order of precedence, then the defaults.

A variable that is set but empty counts as not set, as is usual for containers and unit files.
"""

import argparse
import difflib
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import platformdirs

from chat_server import __version__
from chat_server.settings.spec import Section
from chat_server.settings.table import APP, SETTINGS, Config
from chat_server.settings.value_types import expanded

__all__ = ["Config", "ConfigError", "Reloaded", "load", "reload_limits"]

FILE_NAME: Final = "chat-server.toml"
FILE_VARIABLE: Final = "CHAT_CONFIG"


class ConfigError(ValueError):
    """A setting is invalid; the text is one line with the source, the value and the allowed values."""


class Reloaded(NamedTuple):
    """Result of reloading the settings."""

    config: Config
    """The settings now in force: only reloadable ones differ from before."""
    changed: dict[str, object]
    """The changed settings: new value by name."""
    restart_needed: list[str]
    """Names of settings that changed in the sources but need a restart."""


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Return the settings for these arguments (without the program name) and this environment.

    Raises SystemExit as argparse does: 2 after a line on stderr about an invalid setting, 0 after `--help`.
    """
    try:
        return _read(argv, environ)
    except ConfigError as error:
        sys.stderr.write(f"chat-server: {error}\n")
        raise SystemExit(2) from None


def reload_limits(current: Config, argv: Sequence[str], environ: Mapping[str, str]) -> Reloaded:
    """Read all sources again and return `current` with its reloadable settings updated.

    Raises `ConfigError` if anything in the sources is invalid; `current` then stays in force.
    """
    fresh = _read(argv, environ)
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


def _read(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    flags = _parse(argv)
    values = _from_file(flags.pop("config", None), environ.get(FILE_VARIABLE))
    values |= {
        name: _read_value(name, environ[variable(name)], variable(name))
        for name in SETTINGS
        if environ.get(variable(name))
    }
    values |= {name: _read_value(name, given, flag(name)) for name, given in flags.items()}
    return Config(**values)


def _read_value(name: str, given: object, source: str) -> Any:
    value_type = SETTINGS[name].value_type
    try:
        return value_type.read(given)
    except ValueError:
        raise ConfigError(f"{source}: must be {value_type.allowed}, not {_quoted(given)}") from None


def _quoted(given: object) -> str:
    """Return a value for a message: one line, no control characters, the password of a URL hidden."""
    if not isinstance(given, str | int | float):
        return f"a {type(given).__name__}"
    return repr(re.sub(r"(://[^/@:]*:)[^/@]*@", r"\1***@", given) if isinstance(given, str) else given)


# ---- flags


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, raised as `ConfigError`."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')} (see chat-server --help)")


def _parse(argv: Sequence[str]) -> dict[str, Any]:
    parser = _parser()
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [f"--{name}" for name in ("help", "version", "config")] + [flag(name) for name in SETTINGS]
        parser.error(
            f"{_quoted(unknown[0])} is not known{_did_you_mean(unknown[0].partition('=')[0], known)}"
        )
    return vars(given)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="chat-server",
        description="Serve chat on one TCP port to any client: chat-client, nc, or JSON lines.",
        usage="chat-server [--FLAG VALUE ...]",
        epilog=f"Each setting may also be given in the environment or in a TOML file ({_default_file()}, or "
        "the one that --config names), there without the leading dashes. Flags override the environment, the "
        "environment overrides the file. Sizes may be written as 64K, 16M or 1G.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chat-server {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"TOML file with settings [{FILE_VARIABLE}]")
    defaults = Config()
    groups = {section: parser.add_argument_group(section) for section in Section}
    for name, setting in SETTINGS.items():
        notes = [
            setting.unit,
            f"0: {setting.value_type.zero}" if setting.value_type.zero else "",
            f"default {setting.shown or setting.value_type.show(getattr(defaults, name))}",
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


# ---- file


def _default_file() -> Path:
    return Path(platformdirs.user_config_dir(APP)) / FILE_NAME


def _from_file(by_flag: str | None, by_variable: str | None) -> dict[str, Any]:
    named = by_flag if by_flag is not None else by_variable or None
    path = _default_file() if named is None else expanded(named)
    source = f"{'--config' if by_flag is not None else FILE_VARIABLE}: " if named is not None else ""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if named is None:
            return {}
        raise ConfigError(f"{source}{_quoted(named)}: {error.strerror}") from None
    except (OSError, ValueError) as error:  # ValueError: not TOML, not UTF-8, or no path at all
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{source}{_quoted(str(path) if named is None else named)}: {why}") from None
    values: dict[str, Any] = {}
    for key, given in table.items():
        name = key.replace("-", "_")
        if name not in SETTINGS:
            known = [known.replace("_", "-") if "-" in key else known for known in SETTINGS]
            raise ConfigError(f"{path}: {_quoted(key)} is not a setting{_did_you_mean(key, known)}")
        if name in values:
            raise ConfigError(f"{path}: {name} is given twice, with - and with _")
        values[name] = _read_value(name, given, f"{path}: {key}")
    return values


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
