"""What a load shape asks of the run: who plays, and what was heard.

Knows the contract, and how steps are booked. Must not know Locust, nor how processes are told. Pure.
"""

from dataclasses import dataclass
from typing import Protocol

from chat_swarm.model.schema import CapacityResult, Objective, Scope, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What all processes measured in some seconds of the run."""

    figures: Scope
    objective: Objective | None = None
    """How the SLO fared in these seconds alone; None without one."""
    generator_bound: bool = False
    """Whether the generator was the bottleneck, or a process of it silent, in so many of these seconds that
    they say little about the server."""


class RunControl(Protocol):
    """The run, as a shape sees it. All of it is for the master, or for the only process."""

    steps: list[Step]
    """What a shape writes down for the summary."""
    limit: CapacityResult | None

    def elapsed(self) -> float:
        """Return the seconds since the run began, on the clock of `Row.t`; 0.0 while none is on."""
        ...

    def set_rate(self, factor: float) -> None:
        """Have all bots say messages at `factor` times the rate of the options, from now on."""
        ...

    def cut_connections(self, share: float, spread_seconds: float) -> None:
        """Cut a share of all connections over some seconds (0: at once); they come back and resume."""
        ...

    def set_label(self, text: str) -> None:
        """Name what is going on, for `Row.step`, from now on."""
        ...

    def window(self, since_t: int, until_t: int) -> Window | None:
        """Return what the seconds since_t <= t < until_t yielded; None while a process has not reported them.

        When the run is over it MUST return what there is.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _PastStep:
    label: str
    start: int
    end: int
    bots: int
    rate_factor: float
    storm: bool


def storm_outcome(figures: Scope) -> str:
    """Return how the connections that a storm cut came back, from the figures of its seconds."""
    cuts, resumed = figures.counts.get("cuts", 0), figures.counts.get("resumed", 0)
    resume = figures.metrics.get("resume")
    last = f", the last after {resume.max / 1e6:.2f} s" if resume and resume.count else ""
    return f"{cuts:,} cut, {resumed:,} resumed{last}"


class StepWriter:
    """Steps of a shape, written to the conductor when all processes have reported their seconds."""

    def __init__(self, run_control: RunControl) -> None:
        self._run_control = run_control
        self._waiting: list[_PastStep] = []

    def end_step(
        self, label: str, start: int, end: int, bots: int, rate_factor: float, *, storm: bool = False
    ) -> None:
        """Say that a step went over the seconds start <= t < end. An empty one is left out."""
        if end > start:
            self._waiting.append(
                _PastStep(label=label, start=start, end=end, bots=bots, rate_factor=rate_factor, storm=storm)
            )

    def write_reported(self) -> None:
        """Write down the steps whose seconds are all there, in their order."""
        while self._waiting:
            first = self._waiting[0]
            window = self._run_control.window(first.start, first.end)
            if window is None:
                return
            self._waiting.pop(0)
            held = None if window.objective is None or window.generator_bound else window.objective.passed
            self._run_control.steps.append(
                Step(
                    label=f"{first.label}: {storm_outcome(window.figures)}" if first.storm else first.label,
                    start=first.start,
                    end=first.end,
                    bots=first.bots,
                    rate_factor=first.rate_factor,
                    held=held,
                    generator_bound=window.generator_bound,
                    figures=window.figures,
                    objective=window.objective,
                )
            )
