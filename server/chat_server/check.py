"""What `chat-server --check` reports: the settings with their sources, and what would stop a start.

It opens nothing that a running server uses: neither the port nor the data file.
"""

import os
import socket
import stat
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from chat_server.settings.load import Config, Gathered
from chat_server.settings.table import SETTINGS


class CheckReport(NamedTuple):
    """The text to print, and what is wrong."""

    text: str
    problems: list[str]


def check_report(gathered: Gathered) -> CheckReport:
    """Return what would be used, and what would not work."""
    config = gathered.config
    lines = [_setting_line(field.name, gathered) for field in fields(Config)]
    problems = [*_host_problems(config), *_data_problems(config), *_log_problems(config)]
    verdict = "The settings are valid." if not problems else "The server could not start with these settings."
    notes = [f"note: {note}" for note in gathered.notes]
    wrong = [f"problem: {problem}" for problem in problems]
    return CheckReport("\n".join([*lines, *notes, *wrong, verdict, ""]), problems)


def _setting_line(name: str, gathered: Gathered) -> str:
    value = getattr(gathered.config, name)
    shown = SETTINGS[name].value_type.show(value)
    if name == "store" and not value:
        shown = f"sqlite:///{gathered.config.store_path}"
    return f"{name.replace('_', '-')} = {shown}   ({gathered.sources.get(name, 'default')})"


def _host_problems(config: Config) -> list[str]:
    named = [("--host", config.host)] + (
        [("--metrics-host", config.metrics_host)] if config.metrics_port else []
    )
    problems = []
    for flag, host in named:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            problems.append(f"{flag} {host}: {error.strerror}")
    return problems


def _data_problems(config: Config) -> list[str]:
    path = config.store_path
    if path is None:
        return []
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return _folder_problems(path.absolute().parent, "data")
    except OSError as error:
        return [f"cannot use the data file {path}: {error.strerror}"]
    if not stat.S_ISREG(mode):
        return [f"cannot use the data file {path}: it is not a regular file"]
    if not os.access(path, os.R_OK | os.W_OK):
        return [f"cannot use the data file {path}: this user may not read and write it"]
    return _folder_problems(path.absolute().parent, "data")


def _log_problems(config: Config) -> list[str]:
    if not config.log_file:
        return []
    path = Path(config.log_file)
    if path.is_dir():
        return [f"cannot write the log to {path}: it is a folder"]
    if path.exists():
        return (
            []
            if os.access(path, os.W_OK)
            else [f"cannot write the log to {path}: this user may not write it"]
        )
    folder = path.absolute().parent
    if not folder.is_dir():  # it is not made, other than the data folder
        return [f"cannot write the log to {path}: there is no folder {folder}"]
    return _folder_problems(folder, "the log")


def _folder_problems(folder: Path, what: str) -> list[str]:
    """Return why files cannot be made in a folder, or it cannot be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return [f"cannot store {what} in {folder}: it is not a folder"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"cannot store {what} in {folder}: this user may not write there"]
    return []
