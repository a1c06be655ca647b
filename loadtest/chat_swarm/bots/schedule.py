"""When a bot says something: absolute moments, fixed before anybody knows how fast the server is.

Knows whole nanoseconds of one clock. Must not know which clock, nor who sends. Pure.

A schedule that counts from the last send ("wait a second, then send") slows down together with the server and
so hides its stalls (coordinated omission). Here slot n is at first + n periods, however late slot n - 1 was
sent.
"""

import math
import random
from collections import deque
from typing import Final

GOLDEN_RATIO_STEP: Final = 0x9E3779B97F4A7C15
"""2**64 ÷ the golden ratio, made odd."""

BURST_SLOTS: Final = 8
"""Slots that a bot which is behind may send in one turn: it catches up, but lets the others have theirs."""

NS_PER_S: Final = 1_000_000_000


def phase_of(bot: int) -> int:
    """Return where in its period bot number `bot` begins, in parts of 2**64.

    Multiples of the golden ratio leave no gap among any n of them that is larger than 3 ÷ n, whatever n is
    (Steinhaus' three distances): as even as it gets without knowing how many bots will come. Random phases
    leave gaps, and heaps, of ln n ÷ n.
    """
    return bot * GOLDEN_RATIO_STEP % 2**64


def period_of(rate: float) -> int:
    """Return the nanoseconds between two slots at `rate` a second."""
    if not rate > 0 or not math.isfinite(rate):
        raise ValueError(f"A rate must be above 0 and finite, not {rate}.")
    return max(1, round(NS_PER_S / rate))


class Schedule:
    """One bot's slots. `next_ns` is the planned moment of the next send; it moves by `advance()` alone."""

    __slots__ = ("_gaps", "_pending_periods", "_period_ns", "next_ns")

    def __init__(
        self, start_ns: int, period_ns: int, phase: int = 0, gaps: random.Random | None = None
    ) -> None:
        """Begin within the first period after `start_ns`, as `phase` (of `phase_of`) says.

        With `gaps` the slots are a Poisson process of that mean period, else evenly spaced.
        """
        if period_ns < 1:
            raise ValueError(f"A period must be at least 1 ns, not {period_ns}.")
        self._period_ns = period_ns
        self._gaps = gaps
        self._pending_periods: deque[tuple[int, int]] | None = None
        self.next_ns = start_ns + (phase * period_ns >> 64)

    @property
    def period_ns(self) -> int:
        """The period that holds for new slots."""
        return self._pending_periods[-1][1] if self._pending_periods else self._period_ns

    def advance(self) -> None:
        """Move on by exactly one slot, whatever the time is."""
        gap = self._period_ns
        if self._gaps is not None:
            gap = round(gap * self._gaps.expovariate(1.0))
        self.next_ns += gap
        while self._pending_periods and self.next_ns >= self._pending_periods[0][0]:
            since_ns, period_ns = self._pending_periods.popleft()
            self._apply_period(since_ns, period_ns)

    def pop_due(self, now_ns: int, burst: int = BURST_SLOTS) -> list[int]:
        """Return the planned moments of the slots that are due, oldest first, and move past them."""
        planned: list[int] = []
        while self.next_ns <= now_ns and len(planned) < burst:
            planned.append(self.next_ns)
            self.advance()
        return planned

    def change_period(self, now_ns: int, period_ns: int) -> None:
        """Have a new period from `now_ns` on.

        What is left of the running slot shrinks or grows with the period, so bots that were spread stay
        spread. Slots before `now_ns` that are still owed keep their moments.
        """
        if period_ns < 1:
            raise ValueError(f"A period must be at least 1 ns, not {period_ns}.")
        if self.next_ns >= now_ns:
            self._apply_period(now_ns, period_ns)
        else:
            if self._pending_periods is None:
                self._pending_periods = deque()
            self._pending_periods.append((now_ns, period_ns))

    def delay(self, nanoseconds: int) -> None:
        """Have all that is still to come so much later."""
        self.next_ns += nanoseconds
        if self._pending_periods:
            self._pending_periods = deque(
                (since_ns + nanoseconds, period) for since_ns, period in self._pending_periods
            )

    def _apply_period(self, since_ns: int, period_ns: int) -> None:
        self.next_ns = since_ns + (self.next_ns - since_ns) * period_ns // self._period_ns
        self._period_ns = period_ns
