"""One server of a play: the core, its loops, its store, and all that is written down about them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from support.fakes.plain_fan_out import PlainFanOut
from support.plays.adapter import Core, fail, open_engine
from support.plays.connection import Connection
from support.plays.loop import Loop, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from support.core_stage.clock import Clock
    from support.plays.transcript import Transcript

PROBE_S = 1.0
"""Seconds after which a failed store is tried again without a message."""


class FanOut(PlainFanOut):
    """A fan-out that meets the bugs of the play."""

    def __init__(self, meet_bug: Callable[[str], None]) -> None:
        self._meet_bug = meet_bug

    def offer(self, outboxes: Collection[Any], chunk: bytes, /) -> list[Any]:
        self._meet_bug("fan_out")
        return super().offer(outboxes, chunk)


class Wakeup:
    """The core's port `Wakeup`: the play runs the loop later."""

    def __init__(self) -> None:
        self.requested = False

    def wake(self) -> None:
        self.requested = True


class Disk:
    """What the play does to the store."""

    def __init__(self) -> None:
        self.slow = False  # whether each access waits for the play
        self.full = False  # whether writes fail
        self.unreadable = False
        self.bug = ""  # where the next internal error occurs: "append", "fan_out" or "report"

    def restore(self) -> None:
        """Let all work again."""
        self.slow = self.full = self.unreadable = False
        self.bug = ""


class Server:
    """A run of the server on a data file, or in memory (`path` is None)."""

    def __init__(
        self, path: Path | None, clock: Clock, disk: Disk, transcript: Transcript, settings: dict[str, Any]
    ) -> None:
        self.clock = clock
        self.disk = disk
        self.loop = Loop()
        self.connections: dict[Connection, None] = {}
        self.failed_hellos: dict[str, list[float]] = {}
        self.operator: Any = None
        self._transcript = transcript
        self._commit_wakeup, self._backfill_wakeup = Wakeup(), Wakeup()
        self._disk_waits: list[Signal] = []
        self._commits: Signal | None = None
        self._feeds: Signal | None = None
        self._feed_steps = 0
        self._retry_at: float | None = None  # of the batch that could not be stored
        self._probe_at: float | None = None
        self._tables = Tables(path)
        self._engine = open_engine(path, self._gate, clock.time)
        self.core = Core(
            self._engine,
            clock,
            fan_out=FanOut(self._meet_bug),
            commit_wakeup=self._commit_wakeup,
            backfill_wakeup=self._backfill_wakeup,
            note=self._note_report,
            **settings,
        )
        self.loop.spawn(self._commit_loop)
        self.loop.spawn(self._backfill_loop)
        self.loop.run()
        self._tables.open()

    def connect(self, number: int, address_key: str, limit: int) -> Connection:
        connection = Connection(self, number, address_key, limit)
        self.connections[connection] = None
        return connection

    # The loops

    def commit(self) -> None:
        """Let the commit loop run once, if a commit was requested or a failed one is to be tried again."""
        now = self.clock.monotonic()
        if self._probe_at is not None and self._probe_at <= now:
            self._probe_at = None
            self._commit_wakeup.wake()
        if self._commits is not None:
            if self._retry_at is not None and self._retry_at <= now:
                self._retry_at = None
                self._commits.set()
            elif self._retry_at is None and self._commit_wakeup.requested:
                self._commit_wakeup.requested = False
                self._commits.set()
        self.loop.run()

    def feed(self, steps: int) -> None:
        """Let the backfill make so many steps."""
        self._feed_steps = steps
        if self._feeds is not None and not self.core.fed:
            self._feeds.set()
        self.loop.run()

    def end_disk_wait(self) -> None:
        """Let the oldest access to the disk go on."""
        if self._disk_waits:
            self._disk_waits.pop(0).set()
        self.loop.run()

    @property
    def disk_waits(self) -> int:
        return len(self._disk_waits)

    def _commit_loop(self) -> None:
        while True:
            self._commits = self.loop.signal()
            self.loop.wait(self._commits)
            self._commits = None
            try:
                again = self.core.commit()
            except Exception as error:  # noqa: BLE001  as the server does: later commits go on
                self.note_error(error)
                again = None
            if again is not None:
                self._retry_at = self.clock.monotonic() + again
            elif self.core.failing and self._probe_at is None:
                self._probe_at = self.clock.monotonic() + PROBE_S

    def _backfill_loop(self) -> None:
        while True:
            self._feeds = self.loop.signal()
            self.loop.wait(self._feeds)
            self._feeds = None
            while self._feed_steps > 0 and not self.core.fed:
                self._feed_steps -= 1
                try:
                    self.core.feed()
                except Exception as error:  # noqa: BLE001  as the server does: other sessions go on
                    self.note_error(error)

    def _gate(self, what: str) -> None:
        """Wait, or fail, where the store may."""
        disk = self.disk
        if disk.slow and self.loop.in_greenlet:
            signal = self.loop.signal()
            self._disk_waits.append(signal)
            self._transcript.write(f"* the disk waits: {what}")
            self.loop.wait(signal)
        if what == "append":
            self._meet_bug(what)
        if what == "append" and disk.full:
            fail("no room on the disk")
        if what == "read" and disk.unreadable:
            fail("the disk cannot be read")

    def _meet_bug(self, where: str) -> None:
        """Fail once as the play says, in a way that nobody expects."""
        if self.disk.bug == where:
            self.disk.bug = ""
            raise RuntimeError(f"a bug: {where}")

    # What is written down

    def _note_report(self, text: str) -> None:
        self._transcript.write(f"* {text}")
        self._meet_bug("report")

    def note_bytes(self, connection: Connection, data: bytes) -> None:
        self._transcript.write_bytes(connection.number, data)

    def note_closed(self, connection: Connection) -> None:
        self._transcript.write(f"* connection {connection.number} ended: {connection.end_reason}")

    def note_error(self, error: BaseException) -> None:
        self._transcript.write(f"* internal error: {error!r}")

    def snapshot(self) -> dict[str, str]:
        """Return the state of the core, and of the file."""
        return self.core.snapshot() | self._tables.read(self._transcript)

    # The end

    def stop(self) -> None:
        """Stop in order: store and acknowledge what was accepted, then say goodbye to all."""
        self.disk.slow = self.disk.full = False
        self.settle()
        for connection in list(self.connections):
            if not connection.closed:
                connection.close_with_bye("shutdown", after=1.0)  # type: ignore[arg-type]
        self.loop.run()
        self.settle()
        self.close()

    def tick(self) -> None:
        """Do what the server's ticker does; a task that fails does not keep the others from running."""
        for task in self.core.tasks():
            try:
                task()
            except Exception as error:  # noqa: BLE001  as the server does
                self.note_error(error)

    def settle(self) -> None:
        """Let all loops run until nothing more happens by itself."""
        for _ in range(40):
            while self._disk_waits:
                self.end_disk_wait()
            self.commit()
            self.feed(1000)
            if self._retry_at is not None:
                self.clock.advance(0.05)

    def close(self) -> None:
        """End the process here and now; the data file remains as it is."""
        self._transcript.muted = True
        self.loop.kill()
        self._transcript.muted = False
        self._tables.close()
        self._engine.close()


class Tables:
    """The tables of the data file that the core's state depends on; nothing for a server in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._last_row = 0
        self._found: dict[str, str] = {}

    def open(self) -> None:
        if self._path is not None:
            self._connection = sqlite3.connect(self._path, isolation_level=None)

    def read(self, transcript: Transcript) -> dict[str, str]:
        """Return rooms, sessions and states of conversations; write down new rows of the log."""
        connection = self._connection
        if connection is None:
            return {}
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return self._found
        self._version = version
        found = {}
        for row, *values in connection.execute("SELECT id, name, key, low, high, trimmed FROM rooms"):
            found[f"row of room {row}"] = str(values)
        for row, *values in connection.execute("SELECT room, seq, closed_by FROM standings"):
            found[f"row of state {row}"] = str(values)
        for row, *values in connection.execute("SELECT id, identity, name FROM sessions"):
            found[f"row of session {row}"] = str(values)
        for row, *values in connection.execute("SELECT id, name FROM identities"):
            found[f"row of identity {row}"] = str(values)
        rows = connection.execute(
            "SELECT id, room, seq, session, identity, ref, username, text, at, origin FROM log "
            "WHERE id > ? ORDER BY id",
            (self._last_row,),
        )
        for row, *values in rows.fetchall():
            self._last_row = row
            transcript.write(f"* row {row} {values}")
        self._found = found
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
