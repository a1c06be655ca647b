"""The session of a client in a file, so that after a crash its next start resumes it.

One file for each server and user name, readable by its owner alone, as it holds the session's secret. While
a client uses it, the file is locked (flock(2)): two clients never resume the same session, and the lock ends
with the process, however that ends.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import msgspec

from chat_client.address import Address
from chat_protocol.commands import Resume
from chat_protocol.names import fold

_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_OPEN_ATTEMPTS: Final = 100  # another client may replace or remove the file while it is opened


class SavedSession(msgspec.Struct, frozen=True):
    """What is needed to resume a session: `resume`. `program` opened it; the other fields are for people."""

    servers: list[str]
    username: str
    id: str
    program: str
    resume: Resume


_decode = msgspec.json.Decoder(SavedSession).decode


class SessionFile:
    """An open and locked file. Not thread-safe."""

    def __init__(self, folder: Path, servers: Iterable[Address], username: str, descriptor: int) -> None:
        self._folder = folder
        self._servers = list(servers)
        self._username = username
        self._descriptor = descriptor

    @classmethod
    def open(cls, folder: Path, servers: Iterable[Address], username: str) -> Self | None:
        """Lock the file of a user at servers; return None if another client has it. Raises `OSError`."""
        folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        several = list(servers)
        path = file_path(folder, several, username)
        for _ in range(_OPEN_ATTEMPTS):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return cls(folder, several, username, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except FileNotFoundError:
                pass  # removed by the client that had it
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        return None

    def load(self) -> SavedSession | None:
        """Return the session; None if there is none, or the file is damaged. Raises `OSError`."""
        data = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        try:
            return _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def save(
        self, program: str, session_id: str, username: str, resume: Resume, *, sync: bool = True
    ) -> None:
        """Replace the session by another state of it, atomically; `username` may have changed.

        `sync`: wait for the disk, so that it survives a loss of power, too. Raises `OSError`; the file then
        holds the state before.
        """
        self._folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)  # it may have been removed
        path = file_path(self._folder, self._servers, username)
        old = file_path(self._folder, self._servers, self._username)
        names = [str(address) for address in self._servers]
        data = msgspec.json.encode(SavedSession(names, username, session_id, program, resume))
        new = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # before it gets its name: it is never seen unlocked
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            if sync:
                os.fsync(descriptor)
            new.replace(path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        os.close(self._descriptor)
        self._descriptor, self._username = descriptor, username
        if path != old:
            old.unlink(missing_ok=True)

    def delete(self) -> None:
        """Remove the file, and unlock it: the session has ended. Raises `OSError`."""
        try:
            file_path(self._folder, self._servers, self._username).unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Unlock the file and keep it, for the next start."""
        if self._descriptor >= 0:
            if not os.fstat(self._descriptor).st_size:
                with contextlib.suppress(OSError):  # nothing was saved: it is not worth a file
                    file_path(self._folder, self._servers, self._username).unlink()
            os.close(self._descriptor)
            self._descriptor = -1


def file_path(folder: Path, servers: Iterable[Address], username: str) -> Path:
    """Return the path of the file of a user; its name is a hash, as a user's name may hold any script."""
    known = sorted({_canonical(address) for address in servers})
    key = "\n".join([fold(username), *known]).encode(errors="surrogateescape")
    return folder / f"{hashlib.sha256(key).hexdigest()[:32]}.json"


def _canonical(address: Address) -> str:
    host = address.host.lower().rstrip(".")
    if host in {"127.0.0.1", "::1"}:
        host = "localhost"
    return str(Address(host, address.port))
