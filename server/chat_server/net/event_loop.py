"""The event loop as the connections use it: a port, and gevent's hub behind it.

With it a test plays the loop itself: when a greenlet waits, and what wakes it, is then a line of the test.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Protocol

import gevent
from gevent.event import Event

NEXT_ROUND_S: Final = 1e-6
"""Seconds of a timer that ends in the next round: the loop looks at timers after it has polled its sockets.
With 0, a sleep would be a callback, which runs before the poll."""


class LoopEvent(Protocol):
    """A one-time event; a `Signal` of the core is one."""

    def set(self) -> None:
        """Wake the waiting greenlet. MUST NOT switch."""

    def wait(self) -> object:
        """Wait until it is set. May wait."""


class GreenletSwitch(Protocol):
    """Switches from one greenlet to the loop and back: what gevent's hub does, without an object per wait."""

    def wait(self) -> object:
        """Switch to the loop until one of the others is called. In this greenlet only."""

    def resume(self) -> object:
        """Run the greenlet, which MUST be in `wait`, until it waits again. In a callback of the loop only."""

    def throw(self, error: type[BaseException], /) -> object:
        """Raise `error` in the greenlet, like `resume`."""


class Watcher(Protocol):
    """Watches a descriptor for readiness."""

    @property
    def active(self) -> bool:
        """Whether it has been started, and not stopped."""

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
    """What a connection waits in. Only `wait`, also of events and switches, and `sleep` switch greenlets."""

    @property
    def polls(self) -> Polls:
        """The count of its polls."""

    def wait(self, watcher: Watcher, /) -> object:
        """Wait until the watcher's descriptor is ready."""

    def io(self, descriptor: int, events: int, /) -> Watcher:
        """Return a watcher of a descriptor: 1 for reading, 2 for writing (libev's EV_READ, EV_WRITE)."""

    def run_callback(self, callback: Callable[[], None], /) -> object:
        """Run `callback` after the current greenlet or callback."""

    def new_event(self) -> LoopEvent:
        """Return a new event."""

    def new_switch(self) -> GreenletSwitch:
        """Return the switch of the current greenlet."""

    def run_next_round(self, callback: Callable[[], None], /) -> object:
        """Run `callback` in the next round, once the loop has polled its sockets."""

    def has_input(self) -> bool:
        """Return whether a watched descriptor has become ready since the loop polled. A system call."""

    def sleep(self, seconds: float, /) -> None:
        """Let other greenlets run for so many seconds."""

    def timeout(self, seconds: float, /) -> AbstractContextManager[object]:
        """Return a block that ends, without an error, after so many seconds."""


class _Switch:
    """The switch of the current greenlet."""

    __slots__ = ("resume", "throw", "wait")

    def __init__(self, hub: Any) -> None:
        greenlet: Any = gevent.getcurrent()
        self.wait: Callable[[], object] = hub.switch
        self.resume: Callable[[], object] = greenlet.switch
        self.throw: Callable[[type[BaseException]], object] = greenlet.throw


class GeventLoop:
    """The hub of gevent."""

    def __init__(self) -> None:
        hub: Any = gevent.get_hub()
        self.wait: Callable[[Watcher], object] = hub.wait
        self.io: Callable[[int, int], Watcher] = hub.loop.io
        self.run_callback: Callable[[Callable[[], None]], object] = hub.loop.run_callback
        self.new_event: Callable[[], LoopEvent] = Event
        self.new_switch: Callable[[], GreenletSwitch] = partial(_Switch, hub)
        self._new_timer: Callable[[float], object] = hub.loop.timer
        self.polls: Polls = hub.loop
        self.sleep: Callable[[float], None] = gevent.sleep
        # The set of descriptors that libev polls is a descriptor, too (epoll(7), kqueue(2)).
        self._polled = select.poll()
        self._can_look = hub.loop.fileno() >= 0
        if self._can_look:
            self._polled.register(hub.loop.fileno(), select.POLLIN)

    def has_input(self) -> bool:
        """Return whether a watched descriptor is ready; True where that cannot be known."""
        return not self._can_look or bool(self._polled.poll(0))

    def run_next_round(self, callback: Callable[[], None], /) -> object:
        """Run `callback` in the next round, once the loop has polled its sockets."""
        timer: Any = self._new_timer(NEXT_ROUND_S)
        timer.start(callback, update=False)  # counted from the last poll: else up to 1 ms late
        return timer

    def timeout(self, seconds: float, /) -> AbstractContextManager[object]:
        """Return a block that ends, without an error, after so many seconds."""
        block: AbstractContextManager[object] = gevent.Timeout(seconds, False)
        return block
