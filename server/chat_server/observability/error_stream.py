"""Standard error of a running server: written by a native thread, so that nobody waits for its reader.

A terminal that was stopped, a pipe that is full or a hanging disk would else block the event loop, and with
it every room, as soon as gevent, a warning or the log has something to report there.
"""

import io
import os
import select
import threading
from queue import SimpleQueue
from typing import Final

MAX_QUEUED_PARTS: Final = 1024
MAX_PART_BYTES: Final = 8192
"""Bound of what waits for a reader: the parts of some stack traces, 8 MiB at the very most."""


class BackgroundErrorStream(io.TextIOBase):
    """A text stream that never blocks and never raises; what does not fit the queue is dropped.

    May be used from any thread, and from finalizers: `SimpleQueue.put` is reentrant.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int = 2) -> None:
        self.parts_dropped = 0
        self._descriptor = descriptor
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="standard-error", daemon=True)
        self._thread.start()

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Queue a text."""
        if self._queue.qsize() >= MAX_QUEUED_PARTS:
            self.parts_dropped += 1
        elif text:
            self._queue.put(text.encode("utf-8", "backslashreplace")[:MAX_PART_BYTES])
        return len(text)

    def wait_written(self, timeout_s: float) -> bool:
        """Wait until what was queued so far is written, at most `timeout_s`; return whether it was."""
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout_s)

    def close(self) -> None:
        """Do nothing: it lasts as long as the program."""

    def _run(self) -> None:
        while True:
            part = self._queue.get()
            if isinstance(part, threading.Event):
                part.set()
            else:
                self._write_part(part)

    def _write_part(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process has made it non-blocking
                _wait_until_writable(self._descriptor)
            except OSError:  # nothing is left to report it on
                return


def _wait_until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
