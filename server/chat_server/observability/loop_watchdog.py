"""Watches the loop: how late it is, and what keeps it from running.

Knows timers, threads and stacks. Must not know what the server does with the loop, nor how it logs.
"""

import gc
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Final, NamedTuple

import gevent
import greenlet

MEASURE_INTERVAL_S: Final = 0.1
"""Seconds between two measurements: ten a second cost nothing and miss no pause that a person would feel."""
CHECK_INTERVAL_S: Final = 0.25
"""Seconds between two looks of the native thread, which takes the interpreter's lock for each."""
MAX_STACKS: Final = 100
"""Different stacks in one report: a server has some ten; more would make a line nobody reads."""


class LagSummary(NamedTuple):
    """How late the loop was in an interval."""

    max_ms: float
    tally: dict[int, int]
    """How many measurements (ten a second, fewer when blocked) were late by so many milliseconds, rounded."""


class LoopLagMeter:
    """Asks the loop for a timer every 100 ms and notes how late it comes. Belongs to the hub's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._timer = gevent.get_hub().loop.timer(MEASURE_INTERVAL_S, MEASURE_INTERVAL_S, ref=False)
        self._max_ms = 0.0
        self._tally: Counter[int] = Counter()
        self.last_ran_at = self.resumed_at = clock()
        """When the loop ran last, and when it last did after a pause; read by other threads, too."""

    def start(self) -> None:
        """Measure from now on."""
        self.last_ran_at = self.resumed_at = self.clock()
        self._timer.start(self._tick, update=True)

    def stop(self) -> None:
        """Measure no more."""
        self._timer.stop()

    def take_summary(self) -> LagSummary:
        """Return what was measured since the last call."""
        # The timer may be late right now: whoever calls may have been what kept it waiting.
        overdue = self.clock() - self.last_ran_at - MEASURE_INTERVAL_S if self._timer.active else 0.0
        lag = LagSummary(max(self._max_ms, overdue * 1000), dict(self._tally))
        self._max_ms = 0.0
        self._tally.clear()
        return lag

    def _tick(self) -> None:
        now = self.clock()
        late = max(0.0, now - self.last_ran_at - MEASURE_INTERVAL_S) * 1000
        self._max_ms = max(self._max_ms, late)
        self._tally[round(late)] += 1
        if now - self.last_ran_at > 2 * MEASURE_INTERVAL_S:
            self.resumed_at = now
        self.last_ran_at = now
        # A whole tick from now: libev would keep to the schedule and so hide a loop that is late all the time
        # (and a timer that does not repeat, started in its own callback, fires at once and for ever).
        self._timer.again(self._tick, update=True)


class LoopWatchdog:
    """A native thread that notices when the loop has not run for `blocked_after` seconds.

    `on_blocked(stack, seconds so far)` is called once per blockage, and `on_free(seconds)` when it is over.
    Both run in that thread, the first while the hub is blocked: they MUST NOT use anything of the hub's.
    A process that was stopped as a whole (SIGSTOP, a sleeping laptop) looks the same, with an idle stack.
    """

    def __init__(
        self,
        lag: LoopLagMeter,
        on_blocked: Callable[[str, float], object],
        on_unblocked: Callable[[float], object],
        *,
        blocked_after_s: float = 1.0,
    ) -> None:
        """Watch the loop of the thread that calls this."""
        self._lag = lag
        self._on_blocked = on_blocked
        self._on_unblocked = on_unblocked
        self._blocked_after_s = blocked_after_s
        self._blocked_since: float | None = None  # the last beat before the present blockage
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="block-watch", daemon=True)

    def start(self) -> None:
        """Watch from now on; `lag` has to be started already."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        self._thread.join(timeout=2 * CHECK_INTERVAL_S)

    def _run(self) -> None:
        while not self._stopped.wait(CHECK_INTERVAL_S):
            try:
                self._check()
            except Exception:  # noqa: BLE001  a report that fails must not end the watch
                traceback.print_exc()

    def _check(self) -> None:
        beat, since = self._lag.last_ran_at, self._blocked_since
        if since is not None and beat != since:
            self._blocked_since = None
            self._on_unblocked(self._lag.resumed_at - since)
        blocked = self._lag.clock() - beat
        if self._blocked_since is None and blocked > self._blocked_after_s:
            self._blocked_since = beat
            frame = sys._current_frames()[self._loop_thread]  # noqa: SLF001  documented, for debuggers
            self._on_blocked("".join(traceback.format_stack(frame)), blocked)


def greenlet_stacks() -> str:
    """Return the stacks of all greenlets and native threads, equal ones together, the most frequent first."""
    here = sys._getframe()  # noqa: SLF001  documented, for debuggers
    counts: Counter[str] = Counter()
    texts: dict[tuple[tuple[str, int], ...], str] = {}

    def count(kind: str, frame: FrameType | None) -> None:
        # To traceback, no frame means this one.
        walk = traceback.walk_stack(frame) if frame is not None else ()
        key = tuple((each.f_code.co_filename, number) for each, number in walk)
        if key not in texts:  # formatting reads source files: once per stack, not once per session
            texts[key] = "".join(traceback.format_stack(frame)) if key else "  (has not started)\n"
        counts[f"{kind}\n{texts[key]}"] += 1

    for each in _greenlets():
        count("greenlet", here if each is greenlet.getcurrent() else each.gr_frame)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001  documented, for debuggers
        if ident != threading.get_ident():
            count(f"thread {names.get(ident, 'of a pool')}", frame)
    shown = [f"{number} x {stack}" for stack, number in counts.most_common(MAX_STACKS)]
    left = len(counts) - len(shown)
    return "\n".join(shown) + (f"\nand {left} more stacks\n" if left else "")


def _greenlets() -> list[greenlet.greenlet]:
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()  # get_objects() leaves out what gc.freeze() has set apart
    try:
        # type() and not isinstance(): a proxy may run code when it is asked for its class.
        return [
            each for each in gc.get_objects() if issubclass(type(each), greenlet.greenlet) and not each.dead
        ]
    finally:
        if frozen:
            gc.freeze()
