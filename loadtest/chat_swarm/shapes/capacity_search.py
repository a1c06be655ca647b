"""The search for the highest load that holds, step by step.

Knows loads (users, or a factor of the message rate) and whether each held. Must not know time, bots nor how a
load is made. Pure.

Up by a factor until a load breaks (or down, if the first one does), then halving the gap between what held
and what broke on a logarithmic scale, until it is narrow enough. A load that breaks is tried once more before
it counts as broken, since one hiccup of a shared machine is no limit; so is one in which the generator was
the bottleneck.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from chat_swarm.model.schema import CapacityResult, SloTerm
from chat_swarm.shapes.run_control import Window

MAX_TRIALS: Final = 100
"""Trials of a search, at most: a bound, far above what any sensible search needs."""

UNANSWERED_MAX_SHARE: Final = 0.05
"""Part of the messages that may be sent in the measured seconds and not be answered in them: with more, a
queue is growing somewhere. (Those that are answered just after the last second are made up for by those from
just before the first.)"""

UNANSWERED_FREE_MESSAGES: Final = 10
"""Messages that may stay unanswered however few are sent."""

SEND_WAIT_MAX_US: Final = 500_000
"""Time for which messages may wait to be sent, because their bots could not: more is never made up."""

REFUSED_MAX_SHARE: Final = 0.01
"""Part of the messages that the server may refuse while the load counts as held."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a load fared: `held`, unless `generator_bound`, when nobody knows."""

    held: bool
    generator_bound: bool = False
    why: str = ""
    """Why it did not hold."""


def _term_text(term: SloTerm) -> str:
    value = term.why if term.value is None else f"{term.value:g} {term.unit}".strip()
    return f"{term.text} ({value})"


def judge_step(measured: Window, whole: Window) -> Trial:
    """Judge a step from its measured seconds and from all of its seconds, those of its rise too."""
    counts = measured.figures.counts
    sent, refused = counts.get("sent", 0), counts.get("refused", 0)
    # What was abandoned went with its session: that is a loss of connections, and no queue.
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
    """The state of a search. `load` is what to try next, None when it is over."""

    start: float
    factor: float = 1.25
    """What the load is multiplied by from step to step, until one breaks."""
    addend: float = 0.0
    """What is added instead, if above 0."""
    precision: float = 0.05
    """The search ends when broke ÷ held is at most 1 + this."""
    whole_numbers: bool = False
    """Whether loads are whole numbers (users)."""
    min_load: float = 0.0
    """The lowest load to try; 0: a thousandth of `start`."""
    max_load: float = math.inf
    """The highest load that the generator can make at all."""
    load: float | None = field(init=False)
    held: float | None = field(init=False, default=None)
    broke: float | None = field(init=False, default=None)
    at_least: bool = field(init=False, default=False)
    why: str = field(init=False, default="")
    """Why it ended, and what broke."""
    attempt: int = field(init=False, default=1)
    """2 when `load` is being tried once more."""
    trials: int = field(init=False, default=0)
    _broke_why: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Begin at `start`."""
        if self.start <= 0 or self.factor <= 1 or self.precision <= 0 or self.addend < 0:
            raise ValueError(f"No search can begin at {self.start} in steps of {self.factor}.")
        self.min_load = self.min_load or (1.0 if self.whole_numbers else self.start / 1000)
        self.load = self._round(min(self.start, self.max_load))

    def record_trial(self, outcome: Trial) -> None:
        """Say how `load` fared."""
        if self.load is None:
            raise ValueError("The search is over.")
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
        """End the search here."""
        if self.load is None:
            return
        self.load = None
        if self.broke is None and self.held is not None:
            self.at_least = True
        self.why = f"{why}; {self._broke_why}" if self._broke_why else why

    def result(self, unit: float = 1.0) -> CapacityResult:
        """Return what was found; a load of 1 is `unit` of what the limit is counted in."""
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
        """Choose the next load from what held and what broke."""
        self.attempt = 1
        held, broke = self.held, self.broke
        if held is not None and broke is not None:
            load = self._round(math.sqrt(held * broke))
            if broke / held <= 1 + self.precision or not held < load < broke:
                self.stop("found")
                return
        elif held is not None:
            if held >= self.max_load:
                self.stop("this is all that the generator can make")
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
        higher = load + self.addend if self.addend else load * self.factor
        return min(self.max_load, math.ceil(higher) if self.whole_numbers else higher)

    def _down(self, load: float) -> float:
        lower = load - self.addend if self.addend else load / self.factor
        return max(self.min_load, math.floor(lower) if self.whole_numbers else lower)
