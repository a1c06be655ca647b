"""Writes rendered log lines to a file or pipe: a bounded queue, and a writer that never blocks the loop.

A line is never lost silently: lines that do not fit the queue are counted, lines that cannot be written are
kept and retried, and both are reported on standard error, at most once a minute.
"""

import os
import select
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.vocabulary import LogEvent

MAX_QUEUE_BYTES: Final = 4 * 2**20
"""Bytes of queued lines: minutes of an ordinary log, and little compared with 15,000 sessions."""
MAX_CHUNK_BYTES: Final = 2**20
"""Bytes of one write to a regular file."""
PIPE_WRITE_BYTES: Final = 4096
"""Bytes of one write to a pipe: PIPE_BUF of pipe(7), which a writable pipe has space for."""
FLUSH_MARGIN_S: Final = 1.0
"""Seconds that the last flush may take beside its waits for a reader."""
STDERR_INTERVAL_S: Final = 60.0
"""Seconds between two lines on standard error."""


class LogSink:
    """A queue of lines and the descriptor they are written to.

    `put`, `flush` and the counters may be used from any native thread; everything else MUST be called in the
    thread of the event loop.
    """

    def __init__(
        self,
        path: str = "",
        *,
        descriptor: int = 1,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        retry_interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open `path`, or use `descriptor` if it is empty. Raises `OSError` if it cannot be written to.

        `clock` returns monotonic seconds.
        """
        self.path = path
        self.log: FilteringBoundLogger | None = None  # logs dropped lines; its lines come back to `put`
        self.lines_dropped = 0
        self.write_failures = 0
        self._descriptor = _open(path) if path else descriptor
        self._regular_file = _is_regular_file(self._descriptor)
        self._max_queue_bytes = max_queue_bytes
        self._retry_interval_s = retry_interval_s
        self._clock = clock
        self._queue_lock = threading.Lock()  # guards the queue; held for microseconds, also by the loop
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._dropped_reported = 0  # how many of lines_dropped have been logged
        self._wake_pending = False
        self._write_lock = threading.Lock()  # guards descriptor and chunk; held during a write
        self._chunk = b""
        self._offset = 0
        self._complained_at: float | None = None
        self._reopen_requested = False
        self._work_ready = Event()
        self._wake: Any = None
        self._writer: gevent.Greenlet | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the lines go to a terminal."""
        return os.isatty(self._descriptor)

    def put(self, line: bytes) -> None:
        """Queue a line, newline included, or count it as dropped if the queue is full. MUST NOT block."""
        with self._queue_lock:
            if self._queued_bytes + len(line) > self._max_queue_bytes:
                self.lines_dropped += 1
            else:
                self._queue.append(line)
                self._queued_bytes += len(line)
            if self._wake is not None and not self._wake_pending:
                self._wake_pending = True
                self._wake.send()  # the one call of an event loop that other threads may make

    def start(self) -> None:
        """Start the greenlet that writes queued lines, in this thread's event loop."""
        wake = gevent.get_hub().loop.async_(ref=False)
        wake.start(self._work_ready.set)
        self._work_ready.set()  # for lines queued before
        with self._queue_lock:
            self._wake = wake
        self._writer = gevent.spawn(self._run)

    def reopen(self) -> None:
        """Reopen the file before the next write, after log rotation moved it away. Returns at once."""
        if self.path:
            self._reopen_requested = True
            self._work_ready.set()

    def flush(self, stall_timeout_s: float = 2.0) -> bool:
        """Write all queued lines in this thread; give up after `stall_timeout_s` without progress.

        Returns whether everything was written. Blocks the thread: for the end of the program, and for the
        watchdog while the event loop is blocked.
        """
        error = self._drain(stall_timeout_s)
        self._report_dropped(error)
        if error is None:
            error = self._drain(stall_timeout_s)
        if left := self._waiting_lines():
            self._write_to_stderr(error, now=True)
        return not left

    def flush_briefly(self, stall_timeout_s: float = 2.0) -> None:
        """Write all queued lines, but wait for no write that does not return: a terminal may take a part."""
        flusher = threading.Thread(target=self.flush, args=(stall_timeout_s,), name="log", daemon=True)
        flusher.start()
        flusher.join(2 * stall_timeout_s + FLUSH_MARGIN_S)  # a flush writes twice

    def close(self, stall_timeout_s: float = 2.0) -> None:
        """Stop the writer, write all queued lines and close the file. Later lines are dropped."""
        if self._writer is not None:
            self._writer.kill()
            with self._queue_lock:
                self._wake.stop()
                self._wake = None
        self.flush_briefly(stall_timeout_s)
        with self._queue_lock:
            self._max_queue_bytes = 0
            self._queue.clear()
        if self._write_lock.acquire(timeout=stall_timeout_s):
            self._chunk = b""
            if self.path:
                os.close(self._descriptor)
            self._write_lock.release()

    def _run(self) -> None:
        pool = gevent.get_hub().threadpool
        while True:
            self._work_ready.wait()
            self._work_ready.clear()
            try:
                if self._reopen_requested:
                    self._reopen_requested = False
                    self._report_reopened(pool.apply(self._reopen_file))
                error = pool.apply(self._drain, (1.0,))
            except Exception as fault:  # noqa: BLE001  no thread, no memory: the log must go on
                error = OSError(f"{type(fault).__name__}: {fault}")
            self._report_dropped(error)
            if error is not None:
                # A reader that pauses (a pager, Ctrl-S) is no error until lines are lost.
                if not isinstance(error, TimeoutError) or self.lines_dropped > self._dropped_reported:
                    self._write_to_stderr(error)
                gevent.sleep(self._retry_interval_s)
                self._work_ready.set()

    def _drain(self, stall_timeout_s: float) -> OSError | None:
        """Write until the queue is empty; return the error that prevents it. Runs in native threads."""
        if not self._write_lock.acquire(timeout=stall_timeout_s):
            return TimeoutError("the last write has not returned")
        try:
            while self._offset < len(self._chunk) or self._take_chunk():
                end = len(self._chunk) if self._regular_file else self._offset + PIPE_WRITE_BYTES
                self._offset += _write(self._descriptor, self._chunk[self._offset : end], stall_timeout_s)
        except OSError as error:
            self.write_failures += not isinstance(error, TimeoutError)
            return error
        finally:
            self._write_lock.release()
        return None

    def _waiting_lines(self) -> int:
        return len(self._queue) + self._chunk.count(b"\n", self._offset)

    def _take_chunk(self) -> bool:
        with self._queue_lock:
            lines: list[bytes] = []
            size = 0
            while self._queue and size < MAX_CHUNK_BYTES:
                size += len(self._queue[0])
                lines.append(self._queue.popleft())
            self._queued_bytes -= size
            self._wake_pending = bool(self._queue)
        self._chunk = b"".join(lines)
        self._offset = 0
        return bool(lines)

    def _reopen_file(self) -> OSError | None:
        with self._write_lock:
            try:
                fresh = _open(self.path)
            except OSError as error:
                return error
            os.close(self._descriptor)
            self._descriptor = fresh
            self._regular_file = _is_regular_file(fresh)
            # A line that was written in part to the old file is written whole to the new one.
            self._offset = self._chunk.rfind(b"\n", 0, self._offset) + 1
        return None

    def _report_reopened(self, error: OSError | None) -> None:
        if error is not None:
            self._write_to_stderr(error, now=True)
        if self.log is not None and error is None:
            self.log.info(LogEvent.LOG_REOPENED, path=self.path)
        elif self.log is not None:
            self.log.error(LogEvent.LOG_REOPENED, path=self.path, error=str(error))

    def _report_dropped(self, error: OSError | None) -> None:
        """Log how many lines were dropped, once the queue has space for that line."""
        with self._queue_lock:
            count = self.lines_dropped - self._dropped_reported
            if not count or self._queued_bytes > self._max_queue_bytes // 2:
                return
            self._dropped_reported = self.lines_dropped
        if self.log is not None:
            self.log.error(LogEvent.LOG_LINES_DROPPED, count=count, error=str(error) if error else None)

    def _write_to_stderr(self, error: OSError | None, *, now: bool = False) -> None:
        """Report on standard error that the log cannot be written, at most once a minute unless `now`."""
        at = self._clock()
        if not now and self._complained_at is not None and at - self._complained_at < STDERR_INTERVAL_S:
            return
        self._complained_at = at
        text = (
            f"chat-server: cannot write the log to {self.path or 'standard output'}: "
            f"{(error and (error.strerror or error)) or 'no progress'}; "
            f"{self._waiting_lines()} lines wait, {self.lines_dropped} were dropped so far\n"
        )
        if sys.stderr is None:  # closed at start: descriptor 2 may be another file
            return
        with suppress(OSError):  # standard error is gone, too
            sys.stderr.write(text)
            sys.stderr.flush()


def _open(path: str) -> int:
    # Non-blocking: a pipe without a reader is an error at once (ENXIO of open(2)), not a hang.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(path, flags, 0o640)


def _is_regular_file(descriptor: int) -> bool:
    """Return whether writes cannot stall on a slow reader, as they can on a pipe or terminal."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _write(descriptor: int, data: bytes, stall_timeout_s: float) -> int:
    """Write some of `data`, return how much; raise `TimeoutError` after `stall_timeout_s` without space."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(stall_timeout_s * 1000):
        raise TimeoutError("its reader is not reading")
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # less space than the piece needs: try again
        time.sleep(0.01)
        return 0
