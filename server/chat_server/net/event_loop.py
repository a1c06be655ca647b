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


class LoopTurn(Protocol):
    """What one greenlet waits for, once."""

    def set(self) -> None:
        """Wake the waiting greenlet, soon."""

    def resume(self) -> object:
        """Run the waiting greenlet until it waits again. In a callback of the loop only."""

    def wait(self) -> object:
        """Wait until it is set, or resumed. May wait."""


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

    def new_turn(self) -> LoopTurn:
        """Return a new turn."""

    def call_later(self, seconds: float, callback: Callable[[], None], /) -> object:
        """Run `callback` after so many seconds, once the loop has polled its sockets."""

    def sleep(self, seconds: float, /) -> None:
        """Let other greenlets run for so many seconds."""

    def timeout(self, seconds: float, /) -> AbstractContextManager[object]:
        """Return a block that ends, without an error, after so many seconds."""


class _Turn:
    """A turn by gevent's `Waiter`: a fifth of the cost of its `Event`."""

    __slots__ = ("_run_callback", "_waiter", "wait")

    def __init__(self, run_callback: Callable[..., object]) -> None:
        self._run_callback = run_callback
        self._waiter = Waiter()
        self.wait = self._waiter.get

    def set(self) -> None:
        self._run_callback(self._waiter.switch, None)

    def resume(self) -> None:
        self._waiter.switch(None)


class GeventLoop:
    """The hub of gevent."""

    def __init__(self) -> None:
        hub: Any = gevent.get_hub()
        self.wait: Callable[[Watcher], object] = hub.wait  # bound here: it is called for every read
        self.cancel_wait: Callable[[Watcher, type[BaseException]], object] = hub.cancel_wait
        self.io: Callable[[int, int], Watcher] = hub.loop.io
        self.run_callback: Callable[[Callable[[], None]], object] = hub.loop.run_callback
        self.new_event: Callable[[], LoopEvent] = Event
        self.new_turn: Callable[[], LoopTurn] = partial(_Turn, hub.loop.run_callback)
        self._new_timer: Callable[[float], object] = hub.loop.timer
        self.polls: Polls = hub.loop
        self.sleep: Callable[[float], None] = gevent.sleep

    def call_later(self, seconds: float, callback: Callable[[], None], /) -> object:
        """Run `callback` after so many seconds, once the loop has polled its sockets."""
        timer: Any = self._new_timer(seconds)
        timer.start(callback)
        return timer

    def timeout(self, seconds: float, /) -> AbstractContextManager[object]:
        """Return a block that ends, without an error, after so many seconds."""
        block: AbstractContextManager[object] = gevent.Timeout(seconds, False)
        return block
