"""The event loop of a process full of bots: one epoll for all sockets, one heap for all timers.

Knows descriptors and moments. Must not know what is sent, nor gevent: whoever drives it calls `turn()` when
`fileno()` is readable (under Locust that is one watcher of gevent's loop, in shell.py), or `run()`.

Thousands of bots cost one wake-up for all that is ready, no greenlet, and no search: a descriptor's handler
is one dict access away. Handlers and timers MUST NOT block or switch greenlets.
"""

import heapq
import logging
import time
from collections.abc import Callable
from typing import Final

from chat_swarm.loop.native_epoll import EPOLLIN, new_epoll
from chat_swarm.loop.timerfd import Alarm

log = logging.getLogger(__name__)

_AT_ONCE: Final = 512
"""Descriptors served before timers and others get their turn: some 5 ms."""
TICK_NS: Final = 20_000_000
"""Between two probes of the loop's lag."""

_Handler = Callable[[int], object]


class Reactor:
    """Watches descriptors and calls at moments of time.monotonic_ns().

    `on_lag` is told, in ns, how late a timer of the loop ran; `on_error` gets what a handler raised.
    """

    def __init__(self, on_lag: Callable[[int], object], on_error: Callable[[Exception], object]) -> None:
        self.handlers: Final[dict[int, _Handler]] = {}
        self.previous_ns = time.time_ns()
        """What a read finds now came after this moment: epoll was asked then, and told all."""
        self.behind = False
        """Whether something that is there already will be read in the next turn only."""
        self._asked_ns = self.previous_ns
        self._epoll: Final = new_epoll()
        self._alarm: Final = Alarm()
        self._epoll.register(self._alarm.fd, EPOLLIN)
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._serial = 0
        self._alarm_ns = 0
        self._on_lag = on_lag
        self._on_error = on_error
        self._next_probe = time.monotonic_ns() + TICK_NS
        self.at(self._next_probe, self._probe)
        self._arm()

    def fileno(self) -> int:
        """Return the descriptor that is readable whenever there is something to do."""
        return self._epoll.fileno()

    def watch(self, fd: int, mask: int, handler: _Handler) -> None:
        """Call `handler` with what happened on `fd`, of what `mask` (EPOLLIN, EPOLLOUT) names and errors."""
        self._epoll.register(fd, mask)
        self.handlers[fd] = handler

    def change(self, fd: int, mask: int) -> None:
        """Watch `fd` for something else; 0: for errors only."""
        self._epoll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer; call it before `fd` is closed."""
        if self.handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def at(self, moment_ns: int, callback: Callable[[], object]) -> None:
        """Call `callback` at that moment, or as soon after it as the loop gets there.

        Timers are not taken back: a callback looks whether it is still wanted.
        """
        self._serial += 1
        heapq.heappush(self._timers, (moment_ns, self._serial, callback))
        if moment_ns < self._alarm_ns:  # asked for between two turns
            self._arm()

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` that many seconds from now."""
        self.at(time.monotonic_ns() + int(seconds * 1e9), callback)

    def turn(self, patience: float = 0.0) -> int:
        """Serve what is ready and what is due; wait for it up to `patience` seconds. Return how many were."""
        if not self.behind:
            self.previous_ns = self._asked_ns
        self._asked_ns = time.time_ns()
        ready = self._epoll.poll(patience, _AT_ONCE)
        self.behind = len(ready) == _AT_ONCE
        handlers = self.handlers
        for fd, mask in ready:
            handler = handlers.get(fd)
            if handler is None:
                if fd == self._alarm.fd:
                    self._alarm.hush()
                    self._alarm_ns = 0
                continue  # or forgotten by a handler before it in this turn
            try:
                handler(mask)
            except Exception as error:  # noqa: BLE001  one bot's trouble must not stop the others; the run is told
                self._failed(error)
        done = self._run_due()
        self._arm()
        return len(ready) + done

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Serve for so long, or until something is true; return whether it is. For use without gevent."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return until()
            self.turn(min(left, 0.05))
        return True

    def close(self) -> None:
        """Give the descriptors back; what is watched must have been forgotten."""
        self._alarm.close()
        self._epoll.close()

    def _run_due(self) -> int:
        timers = self._timers
        now = time.monotonic_ns()
        done = 0
        while timers and timers[0][0] <= now and done < _AT_ONCE:
            callback = heapq.heappop(timers)[2]
            done += 1
            try:
                callback()
            except Exception as error:  # noqa: BLE001  as above
                self._failed(error)
        return done

    def _arm(self) -> None:
        due = self._timers[0][0]  # the probe is always there
        if due != self._alarm_ns:
            self._alarm.set(due)
            self._alarm_ns = due

    def _probe(self) -> None:
        now = time.monotonic_ns()
        self._on_lag(now - self._next_probe)
        # A loop that was late by several ticks was late once.
        self._next_probe = max(self._next_probe + TICK_NS, now + TICK_NS // 2)
        self.at(self._next_probe, self._probe)

    def _failed(self, error: Exception) -> None:
        log.error("the swarm erred: %r", error, exc_info=error)
        self._on_error(error)
