"""The event loop as the connections use it: a port, and gevent's hub behind it.

With it a test plays the loop itself: when a greenlet waits, and what wakes it, is then a line of the test.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.hub import Waiter


class LoopEvent(Protocol):
    """A one-time event; a `Signal` of the core is one."""

    def set(self) -> None:
        """Wake the waiting greenlet. MUST NOT switch."""

    def wait(self) -> object:
        """Wait until it is set. May wait."""


class Watcher(Protocol):
    """Watches a descriptor for readiness."""

    @property
    def active(self) -> bool:
        """Whether it has been started."""

    def start(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the descriptor is ready."""

    def stop(self) -> None:
        """Do not call it any more."""

    def close(self) -> None:
        """Release it."""


class Polls(Protocol):
    """Counts how often the loop has polled its sockets."""

    @property
    def iteration(self) -> int:
        """The number of the present round, in which those that were ready at its poll are served."""


class EventLoop(Protocol):
    """What a connection waits in. Only `wait` and `sleep`, and `wait` of an event, switch greenlets."""

    @property
    def polls(self) -> Polls:
        """The count of its polls."""

    def wait(self, watcher: Watcher, /) -> object:
        """Wait until the watcher's descriptor is ready."""

    def cancel_wait(self, watcher: Watcher, error: type[BaseException], /) -> object:
        """Raise `error` in the greenlet that waits for `watcher`, soon; do nothing if none does."""

    def io(self, descriptor: int, events: int, /) -> Watcher:
        """Return a watcher of a descriptor: 1 for reading, 2 for writing (libev's EV_READ, EV_WRITE)."""

    def run_callback(self, callback: Callable[[], None], /) -> object:
        """Run `callback` after the current greenlet or callback."""

    def new_event(self) -> LoopEvent:
        """Return a new event."""

    def new_turn(self) -> LoopEvent:
        """Return a new event that one greenlet waits for once; it is cheaper."""

    def sleep(self, seconds: float, /) -> None:
        """Let other greenlets run for so many seconds."""

    def timeout(self, seconds: float, /) -> AbstractContextManager[object]:
        """Return a block that ends, without an error, after so many seconds."""


class _Turn:
    """An event that one greenlet waits for once: a fifth of the cost of gevent's `Event`."""

    __slots__ = ("_run_callback", "_waiter")

    def __init__(self, run_callback: Callable[..., object]) -> None:
        self._waiter = Waiter()
        self._run_callback = run_callback

    def set(self) -> None:
        self._run_callback(self._waiter.switch, None)

    def wait(self) -> object:
        return self._waiter.get()


class GeventLoop:
    """The hub of gevent."""

    def __init__(self) -> None:
        hub: Any = gevent.get_hub()
        self.wait: Callable[[Watcher], object] = hub.wait  # bound here: it is called for every read
        self.cancel_wait: Callable[[Watcher, type[BaseException]], object] = hub.cancel_wait
        self.io: Callable[[int, int], Watcher] = hub.loop.io
        self.run_callback: Callable[[Callable[[], None]], object] = hub.loop.run_callback
        self.new_event: Callable[[], LoopEvent] = Event
        self.new_turn: Callable[[], LoopEvent] = partial(_Turn, hub.loop.run_callback)
        self.polls: Polls = hub.loop
        self.sleep: Callable[[float], None] = gevent.sleep

    def timeout(self, seconds: float, /) -> AbstractContextManager[object]:
        """Return a block that ends, without an error, after so many seconds."""
        block: AbstractContextManager[object] = gevent.Timeout(seconds, False)
        return block
