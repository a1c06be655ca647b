"""Keeps the session's file up to date: at each connection, and soon after messages have been received.

A thread of its own writes, so that a slow disk never delays events. A folder that cannot be written is
reported once, and the session goes on.
"""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from chat_client.address import Address
from chat_client.connection.inbox import Inbox
from chat_client.connection.session import ClientSession
from chat_client.connection.session_file import SavedSession, SessionFile
from chat_client.events import Unsaved

SAVE_INTERVAL_S: Final = 1.0
"""Between two writes: the messages of the last second may be received again after a crash."""


class SessionKeeper:
    """The file of one client's session. Thread-safe.

    `report` is called with a sentence when the session cannot be saved, once until it can be again.
    """

    def __init__(
        self,
        folder: Path,
        servers: Sequence[Address],
        session: ClientSession,
        report: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._servers = servers
        self._session = session
        self._report = report
        self._lock = threading.Lock()  # guards the file
        self._file: SessionFile | None = None
        self._failed = False
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def load(self) -> SavedSession | None:
        """Lock the file; return the session in it, None if there is none or another client uses it."""
        self._ended.clear()
        with self._lock:
            try:
                self._file = SessionFile.open(self._folder, self._servers, self._session.username)
                return None if self._file is None else self._file.load()
            except OSError as error:
                self._fail(error)
                return None

    def save(self, *, sync: bool = True) -> None:
        """Write the session now, before the user can know of a change; `sync` as in `SessionFile.save`."""
        with self._lock:
            resume = self._session.resume
            if self._file is None or resume is None or not self._session.id:
                return
            try:
                self._file.save(
                    self._session.program, self._session.id, self._session.username, resume, sync=sync
                )
            except OSError as error:
                self._fail(error)
            else:
                self._failed = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="chat-client session file", daemon=True)
            self._thread.start()

    def note_change(self) -> None:
        """Let the session be written soon. Never blocks."""
        self._changed.set()

    def end(self, *, delete: bool) -> None:
        """Release the file: `delete` it if the session has ended, else save it for the next start."""
        if not delete and self._changed.is_set():
            self.save()
        self._ended.set()
        self._changed.set()
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            try:
                if delete:
                    file.delete()
                else:
                    file.close()
            except OSError as error:
                self._fail(error)

    def _run(self) -> None:
        while not self._ended.wait(SAVE_INTERVAL_S):
            self._changed.wait()
            self._changed.clear()
            if not self._ended.is_set():
                self.save()

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._report(
                f"the session cannot be saved in {self._folder}: {error.strerror or error}; "
                "if this program is killed, its name stays taken for some minutes"
            )


def make_keeper(
    state: str | os.PathLike[str] | None, servers: Sequence[Address], session: ClientSession, inbox: Inbox
) -> SessionKeeper | None:
    """Return the keeper of a session in the folder `state`; None without one, or if it is not resumable."""
    if state is None or not session.resumable:
        return None
    return SessionKeeper(Path(state), servers, session, lambda problem: inbox.put(Unsaved(message=problem)))
