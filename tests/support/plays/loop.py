"""Greenlets that run in a fixed order: the play decides when each of them goes on, and no time passes.

The server runs on gevent; the core knows only `wait` and `set`. Here a greenlet that waits gives control back
to the play, and goes on, first come first served, when the play calls `run`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import greenlet

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SWITCHES: Final = 100_000


class Signal:
    """A one-time event: the core's port `Signal`."""

    __slots__ = ("_loop", "is_set", "waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.is_set = False
        self.waiting: list[Any] = []

    def set(self) -> None:
        self.is_set = True
        for one in self.waiting:
            self._loop.call(one.switch)
        self.waiting.clear()


class Loop:
    """All greenlets of one server, and those of its callbacks that are due."""

    def __init__(self) -> None:
        self._play = greenlet.getcurrent()
        self._due: deque[Callable[[], object]] = deque()
        self._greenlets: list[Any] = []

    def call(self, function: Callable[[], object]) -> None:
        """Call `function` in the next `run`."""
        self._due.append(function)

    def spawn(self, function: Callable[[], object]) -> None:
        """Start a greenlet in the next `run`."""
        one = greenlet.greenlet(function)
        self._greenlets.append(one)
        self.call(one.switch)

    def signal(self) -> Signal:
        return Signal(self)

    def wait(self, signal: Signal) -> None:
        """Wait until `signal` is set; the play itself never waits."""
        current = greenlet.getcurrent()
        assert current is not self._play, "the play itself waits"
        while not signal.is_set:
            signal.waiting.append(current)
            self._play.switch()

    @property
    def in_greenlet(self) -> bool:
        """Return whether the caller may wait."""
        return greenlet.getcurrent() is not self._play

    def run(self) -> None:
        """Run all that is due until everything waits."""
        for _ in range(MAX_SWITCHES):
            if not self._due:
                return
            self._due.popleft()()
        raise AssertionError("the greenlets never come to rest")

    def kill(self) -> None:
        """End all greenlets where they wait, as the death of the process does."""
        for one in self._greenlets:
            if one and not one.dead:
                one.throw()
        self._greenlets.clear()
        self._due.clear()
