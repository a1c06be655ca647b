"""A bot's send schedule: absolute times, independent of how fast the server is. Pure; ns of any one clock.

A schedule that counts from the last send ("send, then wait a second") slows down together with the server and
so hides its stalls (coordinated omission, Gil Tene). Here send time n is at first + n periods, however late
the message of send time n - 1 was sent.
"""

import math
import random
from collections import deque
from typing import Final

GOLDEN_RATIO_STEP: Final = 0x9E3779B97F4A7C15
"""2**64 ÷ the golden ratio, made odd."""

BURST_SENDS: Final = 8
"""Messages that a late bot may send at once: it catches up without starving the others."""

NS_PER_S: Final = 1_000_000_000


def phase_of(bot: int) -> int:
    """Return the phase of bot number `bot` within its period, as a fraction of 2**64.

    Any n consecutive multiples of the golden ratio leave no gap larger than 3 ÷ n (three-gap theorem,
    Steinhaus): as even as possible without knowing the number of bots. Random phases leave gaps and clusters
    of ln n ÷ n.
    """
    return bot * GOLDEN_RATIO_STEP % 2**64


def period_of(rate: float) -> int:
    """Return the nanoseconds between two send times at `rate` a second."""
    if not rate > 0 or not math.isfinite(rate):
        raise ValueError(f"the rate must be above 0 and finite, not {rate}")
    return max(1, round(NS_PER_S / rate))


class Schedule:
    """One bot's send times. `next_ns` is the next one; `advance()` moves it to the one after."""

    __slots__ = ("_gaps", "_pending_periods", "_period_ns", "next_ns")

    def __init__(
        self, start_ns: int, period_ns: int, phase: int = 0, gaps: random.Random | None = None
    ) -> None:
        """Create a schedule; its first send time is within a period of `start_ns`, at `phase` (`phase_of`).

        With `gaps`, the send times are a Poisson process with that mean period, else evenly spaced.
        """
        if period_ns < 1:
            raise ValueError(f"the period must be at least 1 ns, not {period_ns}")
        self._period_ns = period_ns
        self._gaps = gaps
        self._pending_periods: deque[tuple[int, int]] | None = None
        self.next_ns = start_ns + (phase * period_ns >> 64)

    @property
    def period_ns(self) -> int:
        """The period of new send times."""
        return self._pending_periods[-1][1] if self._pending_periods else self._period_ns

    def advance(self) -> None:
        """Move to the next send time, whatever the time is."""
        gap = self._period_ns
        if self._gaps is not None:
            gap = round(gap * self._gaps.expovariate(1.0))
        self.next_ns += gap
        while self._pending_periods and self.next_ns >= self._pending_periods[0][0]:
            since_ns, period_ns = self._pending_periods.popleft()
            self._apply_period(since_ns, period_ns)

    def pop_due(self, now_ns: int, burst: int = BURST_SENDS) -> list[int]:
        """Return up to `burst` due send times, oldest first, and move past them."""
        planned: list[int] = []
        while self.next_ns <= now_ns and len(planned) < burst:
            planned.append(self.next_ns)
            self.advance()
        return planned

    def change_period(self, now_ns: int, period_ns: int) -> None:
        """Change the period from `now_ns` on.

        The rest of the current period is scaled with it, so that bots keep their phases. Send
        times before `now_ns` whose messages are still unsent stay as they are.
        """
        if period_ns < 1:
            raise ValueError(f"the period must be at least 1 ns, not {period_ns}")
        if self.next_ns >= now_ns:
            self._apply_period(now_ns, period_ns)
        else:
            if self._pending_periods is None:
                self._pending_periods = deque()
            self._pending_periods.append((now_ns, period_ns))

    def delay(self, nanoseconds: int) -> None:
        """Move all future send times later by `nanoseconds`."""
        self.next_ns += nanoseconds
        if self._pending_periods:
            self._pending_periods = deque(
                (since_ns + nanoseconds, period) for since_ns, period in self._pending_periods
            )

    def _apply_period(self, since_ns: int, period_ns: int) -> None:
        self.next_ns = since_ns + (self.next_ns - since_ns) * period_ns // self._period_ns
        self._period_ns = period_ns
