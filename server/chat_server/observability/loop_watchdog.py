"""Watches the event loop: measures its lag, and reports the stack of code that blocks it."""

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
"""Seconds between two measurements: ten a second cost nothing, and a shorter pause is not noticeable."""
CHECK_INTERVAL_S: Final = 0.25
"""Seconds between two checks of the watchdog thread; each takes the interpreter lock (GIL)."""
MAX_STACKS: Final = 100
"""Distinct stacks in one report: a server has about ten; more would make an unreadable line."""


class LagSummary(NamedTuple):
    """Lag of the event loop in an interval."""

    max_ms: float
    tally: dict[int, int]
    """Number of measurements (ten a second, fewer while blocked) by lag in whole milliseconds."""


class LoopLagMeter:
    """Measures the lag of the event loop by a timer every 100 ms. MUST be used in the loop's own thread.

    `clock` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._timer = gevent.get_hub().loop.timer(MEASURE_INTERVAL_S, MEASURE_INTERVAL_S, ref=False)
        self._max_ms = 0.0
        self._tally: Counter[int] = Counter()
        self.last_ran_at = self.resumed_at = clock()
        """When the loop ran last, and when it last ran after a pause; other threads read both."""

    def start(self) -> None:
        """Start measuring."""
        self.last_ran_at = self.resumed_at = self.clock()
        self._timer.start(self._tick, update=True)

    def stop(self) -> None:
        """Stop measuring."""
        self._timer.stop()

    def take_summary(self) -> LagSummary:
        """Return the lag since the last call, and start a new interval."""
        # The timer may be overdue right now, delayed by the caller itself.
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
        # A whole interval from now: libev would keep to the schedule and so hide a loop that is always late
        # (and a timer without repeat, started in its own callback, fires at once and for ever).
        self._timer.again(self._tick, update=True)


class LoopWatchdog:
    """A native thread that notices when the event loop has not run for `blocked_after_s` seconds.

    `on_blocked(stack, seconds so far)` is called once per blockage, `on_unblocked(seconds)` when it is over.
    Both run in the watchdog thread, the first while the loop is blocked: they MUST NOT use gevent. A process
    that was stopped as a whole (SIGSTOP, a sleeping laptop) looks the same, with an idle stack.
    """

    def __init__(
        self,
        lag: LoopLagMeter,
        on_blocked: Callable[[str, float], object],
        on_unblocked: Callable[[float], object],
        *,
        blocked_after_s: float = 1.0,
    ) -> None:
        """Watch the event loop of the calling thread."""
        self._lag = lag
        self._on_blocked = on_blocked
        self._on_unblocked = on_unblocked
        self._blocked_after_s = blocked_after_s
        self._blocked_since: float | None = None  # when the loop ran last before the current blockage
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="block-watch", daemon=True)

    def start(self) -> None:
        """Start the thread; `lag` must have been started before."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        self._thread.join(timeout=2 * CHECK_INTERVAL_S)

    def _run(self) -> None:
        while not self._stopped.wait(CHECK_INTERVAL_S):
            try:
                self._check()
            except Exception:  # noqa: BLE001  a failing report must not end the watchdog
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
    """Return the stacks of all greenlets and native threads, equal ones grouped, most frequent first."""
    here = sys._getframe()  # noqa: SLF001  documented, for debuggers
    counts: Counter[str] = Counter()
    texts: dict[tuple[tuple[str, int], ...], str] = {}

    def count(kind: str, frame: FrameType | None) -> None:
        # traceback takes None for the current frame.
        walk = traceback.walk_stack(frame) if frame is not None else ()
        key = tuple((each.f_code.co_filename, number) for each, number in walk)
        if key not in texts:  # formatting reads source files: once per distinct stack
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
        gc.unfreeze()  # get_objects() leaves out frozen objects
    try:
        # type(), not isinstance(): a proxy may run code when its __class__ is read.
        return [
            each for each in gc.get_objects() if issubclass(type(each), greenlet.greenlet) and not each.dead
        ]
    finally:
        if frozen:
            gc.freeze()
