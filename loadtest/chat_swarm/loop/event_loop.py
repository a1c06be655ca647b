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
from chat_swarm.loop.timerfd import TimerFd

log = logging.getLogger(__name__)

_EVENTS_PER_ITERATION: Final = 512
"""Descriptors served before timers and others get their turn: some 5 ms."""
LAG_PROBE_PERIOD_NS: Final = 20_000_000
"""Between two probes of the loop's lag."""

_Handler = Callable[[int], object]


class EventLoop:
    """Watches descriptors and calls at moments of time.monotonic_ns().

    `on_lag` is told, in ns, how late a timer of the loop ran; `on_error` gets what a handler raised.
    """

    def __init__(self, on_lag: Callable[[int], object], on_error: Callable[[Exception], object]) -> None:
        self.handlers: Final[dict[int, _Handler]] = {}
        self.previous_poll_ns = time.time_ns()
        """What a read finds now came after this moment: epoll was asked then, and told all."""
        self.has_backlog = False
        """Whether something that is there already will be read in the next turn only."""
        self._polled_ns = self.previous_poll_ns
        self._epoll: Final = new_epoll()
        self._timer_fd: Final = TimerFd()
        self._epoll.register(self._timer_fd.fd, EPOLLIN)
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._timer_sequence = 0
        self._timer_due_ns = 0
        self._on_lag = on_lag
        self._on_error = on_error
        self._next_probe_ns = time.monotonic_ns() + LAG_PROBE_PERIOD_NS
        self.call_at(self._next_probe_ns, self._probe_lag)
        self._arm_timer()

    def fileno(self) -> int:
        """Return the descriptor that is readable whenever there is something to do."""
        return self._epoll.fileno()

    def watch(self, fd: int, mask: int, handler: _Handler) -> None:
        """Call `handler` with what happened on `fd`, of what `mask` (EPOLLIN, EPOLLOUT) names and errors."""
        self._epoll.register(fd, mask)
        self.handlers[fd] = handler

    def modify(self, fd: int, mask: int) -> None:
        """Watch `fd` for something else; 0: for errors only."""
        self._epoll.modify(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no longer; call it before `fd` is closed."""
        if self.handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, due_ns: int, callback: Callable[[], object]) -> None:
        """Call `callback` at that moment, or as soon after it as the loop gets there.

        Timers are not taken back: a callback looks whether it is still wanted.
        """
        self._timer_sequence += 1
        heapq.heappush(self._timers, (due_ns, self._timer_sequence, callback))
        if due_ns < self._timer_due_ns:  # asked for between two turns
            self._arm_timer()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` that many seconds from now."""
        self.call_at(time.monotonic_ns() + int(seconds * 1e9), callback)

    def run_once(self, timeout_s: float = 0.0) -> int:
        """Serve what is ready and what is due; wait for it up to `patience` seconds. Return how many were."""
        if not self.has_backlog:
            self.previous_poll_ns = self._polled_ns
        self._polled_ns = time.time_ns()
        ready = self._epoll.poll(timeout_s, _EVENTS_PER_ITERATION)
        self.has_backlog = len(ready) == _EVENTS_PER_ITERATION
        handlers = self.handlers
        for fd, mask in ready:
            handler = handlers.get(fd)
            if handler is None:
                if fd == self._timer_fd.fd:
                    self._timer_fd.clear()
                    self._timer_due_ns = 0
                continue  # or forgotten by a handler before it in this turn
            try:
                handler(mask)
            except Exception as error:  # noqa: BLE001  one bot's trouble must not stop the others; the run is told
                self._handle_error(error)
        done = self._run_due_timers()
        self._arm_timer()
        return len(ready) + done

    def run_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Serve for so long, or until something is true; return whether it is. For use without gevent."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return until()
            self.run_once(min(left, 0.05))
        return True

    def close(self) -> None:
        """Give the descriptors back; what is watched must have been forgotten."""
        self._timer_fd.close()
        self._epoll.close()

    def _run_due_timers(self) -> int:
        timers = self._timers
        now = time.monotonic_ns()
        done = 0
        while timers and timers[0][0] <= now and done < _EVENTS_PER_ITERATION:
            callback = heapq.heappop(timers)[2]
            done += 1
            try:
                callback()
            except Exception as error:  # noqa: BLE001  as above
                self._handle_error(error)
        return done

    def _arm_timer(self) -> None:
        due = self._timers[0][0]  # the probe is always there
        if due != self._timer_due_ns:
            self._timer_fd.arm(due)
            self._timer_due_ns = due

    def _probe_lag(self) -> None:
        now = time.monotonic_ns()
        self._on_lag(now - self._next_probe_ns)
        # A loop that was late by several ticks was late once.
        self._next_probe_ns = max(self._next_probe_ns + LAG_PROBE_PERIOD_NS, now + LAG_PROBE_PERIOD_NS // 2)
        self.call_at(self._next_probe_ns, self._probe_lag)

    def _handle_error(self, error: Exception) -> None:
        log.error("the swarm erred: %r", error, exc_info=error)
        self._on_error(error)
