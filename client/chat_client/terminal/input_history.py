"""Persistent input history, in a file with mode 0600 in the user's state directory (XDG)."""

import os
from pathlib import Path

import platformdirs
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

_MAX_FILE_BYTES = 1024 * 1024  # years of typing; above it the older half is dropped


def open_history() -> History:
    """Return the history; in memory only if the file cannot be opened."""
    path = platformdirs.user_state_path("greenroom") / "chat-history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        path.chmod(0o600)  # an older file may be more open
        if path.stat().st_size > _MAX_FILE_BYTES:
            _shorten(path)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _shorten(path: Path) -> None:
    """Drop the older half; entries begin with a blank line and a comment with their time."""
    data = path.read_bytes()
    cut = data.find(b"\n# ", len(data) // 2)
    if cut >= 0:
        path.write_bytes(data[cut:])
