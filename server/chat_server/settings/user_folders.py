"""The user's folders for settings and data, which a user without a home folder does not have.

A container that runs under any uid has no entry in /etc/passwd, and often no HOME, or an empty or relative
one.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs

APP: Final = "greenroom"
HOME_UNKNOWN: Final = "the home folder of this user is unknown: set HOME to an absolute path"


class HomeUnknownError(ValueError):
    """A path begins with `~`, and that home folder is unknown."""

    def __init__(self) -> None:
        super().__init__(HOME_UNKNOWN)


def user_config_folder() -> Path | None:
    """Return the folder of the user's settings; None without a home folder."""
    return _absolute(platformdirs.user_config_dir)


def user_data_folder() -> Path | None:
    """Return the folder of the user's data; None without a home folder."""
    return _absolute(platformdirs.user_data_dir)


def expanded(path: str) -> Path:
    """Return the path with a leading `~` replaced by the home folder. Raises `HomeUnknownError`."""
    if not path.startswith("~"):
        return Path(path)
    found = os.path.expanduser(path)  # noqa: PTH111  pathlib raises where there is no such user
    if found == path and path != "~" and not path.startswith("~/"):
        return Path(path)  # no such user: a file may be called so
    if not found.startswith("/"):
        raise HomeUnknownError
    return Path(found)


def _absolute(folder_of: Callable[[str], str]) -> Path | None:
    try:
        path = Path(folder_of(APP))
    except RuntimeError:
        return None
    return path if path.is_absolute() else None
