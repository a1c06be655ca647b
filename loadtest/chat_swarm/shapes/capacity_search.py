"""The search for the highest load that holds. Pure: loads (users, or a factor of the rate) and outcomes.

Increase by a factor until a load breaks (or decrease, if the first one does); then bisect between the load
that held and the one that broke, on a logarithmic scale, down to `precision`. A load that breaks is tried a
second time before it counts as broken, since a single hiccup of a shared machine is not a limit; so is a load
at which the generator was the bottleneck.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from chat_swarm.model.schema import CapacityResult, SloTerm
from chat_swarm.shapes.run_control import Window

MAX_TRIALS: Final = 100
"""Upper bound of the trials of a search, far above what a sensible one needs."""

UNANSWERED_MAX_SHARE: Final = 0.05
"""Share of the messages sent in the measured seconds that may stay unanswered in them; with more, a queue
grows. (Answers just after the last second are offset by those to messages from just before the first.)"""

UNANSWERED_FREE_MESSAGES: Final = 10
"""Unanswered messages that are always allowed, however few are sent."""

SEND_WAIT_MAX_US: Final = 500_000
"""Time that messages may wait because their bots could not send: a longer delay is never caught up."""

REFUSED_MAX_SHARE: Final = 0.01
"""Share of the messages that the server may refuse at a load that counts as held."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Outcome of a load: held or not; unknown if `generator_bound`."""

    held: bool
    generator_bound: bool = False
    why: str = ""
    """Why it did not hold."""


def _term_text(term: SloTerm) -> str:
    value = term.why if term.value is None else f"{term.value:g} {term.unit}".strip()
    return f"{term.text} ({value})"


def judge_step(measured: Window, whole: Window) -> Trial:
    """Judge a step from its measured seconds and from all of its seconds, ramp-up included."""
    counts = measured.figures.counts
    sent, refused = counts.get("sent", 0), counts.get("refused", 0)
    # Abandoned messages were lost with their sessions: a loss of connections, not a queue.
    unanswered = sent - sum(counts.get(name, 0) for name in ("refused", "acknowledged", "abandoned"))
    whys = []
    if measured.objective is not None and not measured.objective.passed:
        broken = [_term_text(term) for term in measured.objective.terms if not term.passed]
        whys.append(f"the SLO broke: {', '.join(broken)}")
    if failures := whole.figures.counts.get("connect_failures", 0):
        whys.append(f"{failures:,} connections failed")
    if refused > sent * REFUSED_MAX_SHARE:
        whys.append(f"the server refused {refused:,} of {sent:,} messages")
    if unanswered > max(sent * UNANSWERED_MAX_SHARE, UNANSWERED_FREE_MESSAGES):
        whys.append(f"{unanswered:,} of {sent:,} messages were not answered in time")
    held_up = measured.figures.metrics.get("held_up")
    if held_up is not None and held_up.count > sent * UNANSWERED_MAX_SHARE and held_up.p50 > SEND_WAIT_MAX_US:
        late = f"half of them over {held_up.p50 / 1_000_000:.1f} s"
        whys.append(f"{held_up.count:,} of {sent:,} messages waited to be sent, {late}")
    why = "; ".join(whys)
    if measured.generator_bound:
        return Trial(held=False, generator_bound=True, why=why)
    return Trial(held=not whys, why=why)


@dataclass(slots=True, kw_only=True)
class CapacitySearch:
    """The state of a search. `load` is the next load to try; None when the search is over."""

    start: float
    factor: float = 1.25
    """Factor from step to step, until one breaks."""
    precision: float = 0.05
    """The search ends when `broke` ÷ `held` is at most 1 + this."""
    whole_numbers: bool = False
    """Whether loads are whole numbers (users)."""
    min_load: float = 0.0
    """The lowest load to try; 0: a thousandth of `start`."""
    max_load: float = math.inf
    """The highest load that the generator can produce."""
    load: float | None = field(init=False)
    held: float | None = field(init=False, default=None)
    broke: float | None = field(init=False, default=None)
    at_least: bool = field(init=False, default=False)
    why: str = field(init=False, default="")
    """Why the search ended, and why the load broke."""
    attempt: int = field(init=False, default=1)
    """2 while `load` is tried a second time."""
    trials: int = field(init=False, default=0)
    _broke_why: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Check the parameters. Raises ValueError."""
        if self.start <= 0 or self.factor <= 1 or self.precision <= 0:
            raise ValueError(
                f"cannot search from {self.start} by {self.factor} to a precision of {self.precision}; "
                "give a start and a precision above 0, and a factor above 1"
            )
        self.min_load = self.min_load or (1.0 if self.whole_numbers else self.start / 1000)
        self.load = self._round(min(self.start, self.max_load))

    def record_trial(self, outcome: Trial) -> None:
        """Record the outcome of `load` and choose the next one. Raises ValueError when the search is over."""
        if self.load is None:
            raise ValueError("the search is over")
        self.trials += 1
        if outcome.held and not outcome.generator_bound:
            self.held = self.load
            self._next()
        elif self.attempt == 1:
            self.attempt = 2
        elif outcome.generator_bound:
            self.at_least = True
            self.stop(
                f"the generator did not keep up at {self.load:g}"
                f"{'' if self.whole_numbers else ' times the rate'}"
            )
        else:
            self.broke, self._broke_why = self.load, outcome.why
            self._next()
        if self.load is not None and self.trials >= MAX_TRIALS:
            self.stop(f"{MAX_TRIALS} trials were made")

    def stop(self, why: str) -> None:
        """End the search, with the reason `why`."""
        if self.load is None:
            return
        self.load = None
        if self.broke is None and self.held is not None:
            self.at_least = True
        self.why = f"{why}; {self._broke_why}" if self._broke_why else why

    def result(self, unit: float = 1.0) -> CapacityResult:
        """Return the result; a load of 1 is `unit` users or messages a second."""
        return CapacityResult(
            by="users" if self.whole_numbers else "rate",
            held=None if self.held is None else self.held * unit,
            broke=None if self.broke is None else self.broke * unit,
            at_least=self.at_least,
            why=self.why,
        )

    def _round(self, load: float) -> float:
        return float(round(load)) if self.whole_numbers else load

    def _next(self) -> None:
        """Choose the next load from `held` and `broke`."""
        self.attempt = 1
        held, broke = self.held, self.broke
        if held is not None and broke is not None:
            load = self._round(math.sqrt(held * broke))
            if broke / held <= 1 + self.precision or not held < load < broke:
                self.stop("found")
                return
        elif held is not None:
            if held >= self.max_load:
                self.stop("this is the highest load that the generator can produce")
                return
            load = self._up(held)
        else:
            assert broke is not None
            if broke <= self.min_load:
                self.stop("not even the lowest load held")
                return
            load = self._down(broke)
        self.load = load

    def _up(self, load: float) -> float:
        higher = load * self.factor
        return min(self.max_load, math.ceil(higher) if self.whole_numbers else higher)

    def _down(self, load: float) -> float:
        lower = load / self.factor
        return max(self.min_load, math.floor(lower) if self.whole_numbers else lower)
