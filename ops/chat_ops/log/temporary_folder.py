"""The temporary folder of a log: copies of pipes, links, and what DuckDB spills.

Most logs need none, so a machine without one can read plain files.
"""

import contextlib
import tempfile
from pathlib import Path
from typing import Final

from chat_ops.log.errors import UsageError

WAY_OUT: Final = "set TMPDIR to a folder with space that can be written"


class TemporaryFolder:
    """A folder that `remove` removes."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        with contextlib.suppress(OSError):  # none of the usual places can be written: `path` says so if asked
            self._folder = tempfile.TemporaryDirectory(prefix="chat-logs-", ignore_cleanup_errors=True)

    @property
    def spill_path(self) -> str:
        """Path for DuckDB's `temp_directory`: empty, and so no spilling, if there is no folder."""
        return "" if self._folder is None else self._folder.name

    def path(self, why: str) -> Path:
        """Return the folder's path; `why` it is needed. Raises `UsageError` if there is none."""
        if self._folder is None:
            raise UsageError(f"there is no folder for temporary files, needed {why}: {WAY_OUT}")
        return Path(self._folder.name)

    def remove(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            self._folder.cleanup()

    def copy_failed(self, what: str, error: OSError) -> UsageError:
        """Return the error for a copy that cannot be written."""
        return UsageError(f"cannot copy {what} to a temporary file: {error.strerror or error}; {WAY_OUT}")
