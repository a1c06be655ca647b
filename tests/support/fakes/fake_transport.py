"""A transport and an event loop without sockets and time: every wait of a connection is a line of the test.

The connection runs in a greenlet of its own. Where it waits, the test goes on; `LoopPlayer` continues it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import greenlet


class BlockTimedOut(BaseException):
    """Thrown into a block of `timeout` whose time is over."""


class FakeTransport:
    """A peer that sends what the test lets it send, and reads as much as the test lets it read."""

    def __init__(self) -> None:
        self.input: deque[bytes | type[OSError] | OSError] = deque()  # one item a `recv`; b"" is the end
        self.space: int | None = None  # bytes that the peer still reads; None: all
        self.gone = False  # `send` fails from now on
        self.bug: Exception | None = None  # `send` raises it
        self.sent = b""
        self.calls: list[str] = []

    def recv(self, size: int, /) -> bytes:
        if not self.input:
            raise BlockingIOError
        item = self.input.popleft()
        if not isinstance(item, bytes):
            raise item
        if len(item) > size:
            self.input.appendleft(item[size:])
        return item[:size]

    def send(self, data: bytes | memoryview, /) -> int:
        if self.bug is not None:
            raise self.bug
        if self.gone:
            raise BrokenPipeError
        taken = len(data) if self.space is None else min(len(data), self.space)
        if data and not taken:
            raise BlockingIOError
        if self.space is not None:
            self.space -= taken
        self.sent += bytes(data[:taken])
        return taken

    def fileno(self) -> int:
        return -1

    def shutdown(self, how: int, /) -> None:
        if self.gone:
            raise OSError(f"shutdown {how} of a lost connection")
        self.calls.append("shutdown")

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        self.calls.append(f"setsockopt {level} {option} {value}")

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        raise OSError(f"no option {level} {option} of {size} bytes")

    def close(self) -> None:
        self.calls.append("close")


class FakeWatcher:
    """A watcher that the test fires."""

    def __init__(self) -> None:
        self.callback: Callable[[], None] | None = None
        self.closed = False

    @property
    def active(self) -> bool:
        return self.callback is not None

    def start(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def stop(self) -> None:
        self.callback = None

    def close(self) -> None:
        self.closed = True


class FakeEvent:
    """An event that one greenlet waits for."""

    def __init__(self, loop: LoopPlayer) -> None:
        self._loop = loop
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    def wait(self) -> None:
        while not self.is_set:
            self._loop.park("event", self)


class FakeSwitch:
    """The switch of the connection's greenlet."""

    def __init__(self, loop: LoopPlayer) -> None:
        self._loop = loop

    def wait(self) -> None:
        self._loop.park("switch", self._loop.watchers[0])  # the reader's

    def resume(self) -> None:
        assert self._loop.waits_for in {"input", "turn"}, self._loop.waits_for
        self._loop.resume()

    def throw(self, error: type[BaseException], /) -> None:
        assert self._loop.waits_for in {"input", "turn"}, self._loop.waits_for
        self._loop.throw(error)


class LoopPlayer:
    """The port `EventLoop`, played by the test."""

    def __init__(self) -> None:
        self._waits_for = ""
        self.waiting: Any = None
        self.callbacks: list[Callable[[], None]] = []
        self.timers: list[Callable[[], None]] = []  # of the next round
        self.watchers: list[FakeWatcher] = []
        self.timed_blocks = 0
        self.iteration = 0  # it is the port `Polls`, too
        self.input_waits = True  # that of others: `has_input`
        self.keeps_round = False  # whether the connection goes on in the round in which it has begun to wait
        self._main = greenlet.getcurrent()
        self._served: greenlet.greenlet | None = None

    # The port

    @property
    def polls(self) -> LoopPlayer:
        return self

    def wait(self, watcher: Any, /) -> None:
        watcher.start(self.resume)
        try:
            self.park("input", watcher)
        finally:
            watcher.stop()

    def io(self, descriptor: int, events: int, /) -> FakeWatcher:
        del descriptor, events
        self.watchers.append(FakeWatcher())
        return self.watchers[-1]

    def run_callback(self, callback: Callable[[], None], /) -> None:
        self.callbacks.append(callback)

    def new_event(self) -> FakeEvent:
        return FakeEvent(self)

    def new_switch(self) -> FakeSwitch:
        return FakeSwitch(self)

    def run_next_round(self, callback: Callable[[], None], /) -> None:
        self.timers.append(callback)

    def has_input(self) -> bool:
        return self.input_waits

    def sleep(self, seconds: float, /) -> None:
        self.park("sleep", seconds)

    @contextmanager
    def timeout(self, seconds: float, /) -> Iterator[float]:
        self.timed_blocks += 1
        try:
            yield seconds
        except BlockTimedOut:
            pass
        finally:
            self.timed_blocks -= 1

    # The test's side

    @property
    def waits_for(self) -> str:
        """What the connection waits for: "input", "event", "turn" or "sleep"; empty if it does not wait."""
        if self._waits_for == "switch":  # it queues in the next round, or else it waits for its watcher
            return "turn" if self.timers else "input"
        return self._waits_for

    def park(self, what: str, waiting: Any) -> None:
        """Let the test go on until it continues the connection."""
        self._waits_for, self.waiting = what, waiting
        try:
            self._main.switch()
        finally:
            self._waits_for, self.waiting = "", None

    def serve(self, run: Callable[[], None]) -> None:
        """Start the connection's greenlet; return where it waits for the first time."""
        self._served = greenlet.greenlet(run)
        self._served.switch()

    def go_on(self) -> None:
        """Continue the connection from where it waits; then run the callbacks that are due."""
        assert self._served is not None
        assert not self._served.dead, "the connection has ended"
        self.iteration += not self.keeps_round
        if self.waits_for == "input":
            self.waiting.callback()
        else:
            self.resume()
        self.run_callbacks()

    def resume(self) -> None:
        """Run the connection until it waits again."""
        assert self._served is not None
        self._served.switch()

    def throw(self, error: type[BaseException], /) -> None:
        """Raise `error` where the connection waits."""
        assert self._served is not None
        self._served.throw(error)

    def run_timers(self) -> None:
        """Run what is to run in the next round."""
        self.iteration += 1
        timers, self.timers = self.timers, []
        for callback in timers:
            callback()

    def run_callbacks(self) -> None:
        """Run the callbacks that are due."""
        while self.callbacks:
            self.callbacks.pop(0)()

    def end_timed_block(self) -> None:
        """Let the time of the innermost `timeout` be over."""
        assert self.timed_blocks
        self.throw(BlockTimedOut)
        self.run_callbacks()

    @property
    def ended(self) -> bool:
        """Whether the connection's greenlet has ended."""
        return self._served is not None and self._served.dead
