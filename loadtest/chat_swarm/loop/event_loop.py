"""Event loop for thousands of bots in one process: one epoll for all sockets, one heap for all timers.

The caller drives it: `run_once()` whenever `fileno()` is readable (under Locust an I/O watcher of gevent's
loop does that, see runner/locust_worker.py), or `run_for()` without gevent.

An iteration costs one epoll_wait(2) for all ready sockets, no greenlet, and one dict access per descriptor.
Handlers and timer callbacks MUST NOT block or switch greenlets. Times are `time.monotonic_ns()`, except
`previous_poll_ns`.
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
"""Descriptors, and timers, served in one iteration: about 5 ms of work, then the other kind runs."""
LAG_PROBE_PERIOD_NS: Final = 20_000_000
"""Interval between two measurements of the loop's lag."""

_Handler = Callable[[int], object]


class EventLoop:
    """Level-triggered epoll and a timer heap.

    `on_lag(ns)` is called every `LAG_PROBE_PERIOD_NS` with the delay of the loop's own timer;
    `on_error(error)` with every exception that a handler or timer callback raises.
    """

    def __init__(self, on_lag: Callable[[int], object], on_error: Callable[[Exception], object]) -> None:
        self.handlers: Final[dict[int, _Handler]] = {}
        self.previous_poll_ns = time.time_ns()
        """Wall clock at the last poll that reported everything: data read now arrived after it."""
        self.has_backlog = False
        """Whether data that has already arrived is left for the next iteration."""
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
        """Return the epoll descriptor, which is readable while a socket is ready or a timer is due."""
        return self._epoll.fileno()

    def watch(self, fd: int, mask: int, handler: _Handler) -> None:
        """Call `handler` with the ready events of `fd`; `mask` is a combination of EPOLLIN and EPOLLOUT."""
        self._epoll.register(fd, mask)
        self.handlers[fd] = handler

    def modify(self, fd: int, mask: int) -> None:
        """Change the events that `fd` is registered for; 0: errors and hang-ups only."""
        self._epoll.modify(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Unregister `fd`; MUST be called before `fd` is closed. Does nothing if it is not registered."""
        if self.handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, due_ns: int, callback: Callable[[], object]) -> None:
        """Call `callback` once, at `due_ns` of `time.monotonic_ns()` or as soon after it as possible.

        A timer cannot be cancelled: the callback checks whether it still applies.
        """
        self._timer_sequence += 1
        heapq.heappush(self._timers, (due_ns, self._timer_sequence, callback))
        if due_ns < self._timer_due_ns:  # set between two iterations
            self._arm_timer()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` once, `seconds` from now."""
        self.call_at(time.monotonic_ns() + int(seconds * 1e9), callback)

    def run_once(self, timeout_s: float = 0.0) -> int:
        """Run one iteration, waiting up to `timeout_s`; return the number of ready descriptors and timers."""
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
                continue  # or unwatched by an earlier handler in this iteration
            try:
                handler(mask)
            except Exception as error:  # noqa: BLE001  one bot's error must not stop the others; it is reported
                self._handle_error(error)
        done = self._run_due_timers()
        self._arm_timer()
        return len(ready) + done

    def run_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Run for `seconds`, or until `until()` is true; return whether it is. For use without gevent."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return until()
            self.run_once(min(left, 0.05))
        return True

    def close(self) -> None:
        """Close the epoll and timer descriptors; every watched descriptor must have been unwatched before."""
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
        # A loop that was late by several periods is measured once.
        self._next_probe_ns = max(self._next_probe_ns + LAG_PROBE_PERIOD_NS, now + LAG_PROBE_PERIOD_NS // 2)
        self.call_at(self._next_probe_ns, self._probe_lag)

    def _handle_error(self, error: Exception) -> None:
        log.error("internal error in the load generator: %r", error, exc_info=error)
        self._on_error(error)
