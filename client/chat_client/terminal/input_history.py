"""Persistent input history, in a file with mode 0600 in the user's state directory."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, cast

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

_MAX_FILE_BYTES = 1024 * 1024  # years of typing; above it the older half is dropped


def open_history(folder: Path | None, report: Callable[[str], None]) -> History:
    """Return the history in `folder`; in memory only for a user without a home.

    `report` is called with a sentence when lines cannot be kept, once until they can be again.
    """
    if folder is None:
        report("there is no home folder, so the lines that you type are not kept for the next time")
        return InMemoryHistory()
    return PrivateHistory(folder / "chat-history", report)


class PrivateHistory(FileHistory):
    """A file for the user alone; a folder that cannot be used, now or later, costs the history only."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        super().__init__(path)
        self._path = path
        self._report = report
        self._failed = False

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines of earlier runs, the newest first."""
        try:
            if self._path.exists():
                self._path.chmod(0o600)  # an older file may be more open
                if self._path.stat().st_size > _MAX_FILE_BYTES:
                    _shorten(self._path)
            return super().load_history_strings()
        except OSError as error:
            self._fail(error)
            return []

    def store_string(self, string: str) -> None:
        """Append a line."""
        text = string.encode(errors="surrogateescape").decode(errors="replace")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been removed
            with cast("BinaryIO", open(self._path, "ab", opener=_open_private)):
                pass
            super().store_string(text)
        except OSError as error:
            self._fail(error)
        else:
            self._failed = False

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._report(
                f"the lines that you type cannot be kept in {self._path}: {error.strerror or error}; "
                "the chat goes on without"
            )


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _shorten(path: Path) -> None:
    """Drop the older half; entries begin with a blank line and a comment with their time."""
    data = path.read_bytes()
    cut = data.find(b"\n# ", len(data) // 2)
    if cut >= 0:
        path.write_bytes(data[cut:])
