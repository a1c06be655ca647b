"""The user's folder for state that outlives a run: typed lines, and sessions to resume (XDG)."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path


def state_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder; None for a user without a home, as in a container. It need not exist.

    Relative paths in the environment are ignored, as the XDG specification demands: they would put the folder
    wherever the program happens to be started.
    """
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():
        return base / "greenroom"
    home = Path(environ.get("HOME", ""))
    if not home.is_absolute():
        try:
            home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:
            return None
    return home / ".local" / "state" / "greenroom" if home.is_absolute() else None


def sessions_folder() -> Path | None:
    """Return the folder of the sessions that are kept; None for a user without a home."""
    folder = state_folder()
    return None if folder is None else folder / "sessions"
