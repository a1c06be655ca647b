"""The port through which a load shape controls the run and reads its figures; and the writer of its steps."""

from dataclasses import dataclass
from typing import Protocol

from chat_swarm.model.schema import CapacityResult, Objective, Scope, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Figures of all processes over some seconds of the run."""

    figures: Scope
    objective: Objective | None = None
    """Result of the SLO over these seconds alone; None without an SLO."""
    generator_bound: bool = False
    """Whether so many of these seconds are marked (generator overloaded, or a process not reporting) that
    they say little about the server."""


class RunControl(Protocol):
    """The run, as a load shape sees it; lives in the master, or in the only process."""

    steps: list[Step]
    """Steps for the summary, written by the shape."""
    limit: CapacityResult | None

    def elapsed(self) -> float:
        """Return the seconds since the start of the run, as `TimelineRow.t`; 0.0 without a run."""
        ...

    def set_rate(self, factor: float) -> None:
        """Multiply the message rate of all bots by `factor`, relative to the options, from now on."""
        ...

    def cut_connections(self, share: float, spread_seconds: float) -> None:
        """Cut a share of all connections over `spread_seconds` (0: at once); the bots resume."""
        ...

    def set_label(self, text: str) -> None:
        """Set the label of the current stage, for `TimelineRow.step`, from now on."""
        ...

    def window(self, since_t: int, until_t: int) -> Window | None:
        """Return the figures of since_t <= t < until_t (seconds since the run began).

        None until all processes reported them.
        After the end of the run it MUST return what there is.
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
    """Return, as text, how many of the cut connections resumed, and how late the last one."""
    cuts, resumed = figures.counts.get("cuts", 0), figures.counts.get("resumed", 0)
    resume = figures.metrics.get("resume")
    last = f", the last after {resume.max / 1e6:.2f} s" if resume and resume.count else ""
    return f"{cuts:,} cut, {resumed:,} resumed{last}"


class StepWriter:
    """Writes the steps of a shape to the `RunControl` once all processes have reported their seconds."""

    def __init__(self, run_control: RunControl) -> None:
        self._run_control = run_control
        self._waiting: list[_PastStep] = []

    def end_step(
        self, label: str, start: int, end: int, bots: int, rate_factor: float, *, storm: bool = False
    ) -> None:
        """Queue a step over the seconds start <= t < end; an empty one is ignored."""
        if end > start:
            self._waiting.append(
                _PastStep(label=label, start=start, end=end, bots=bots, rate_factor=rate_factor, storm=storm)
            )

    def write_reported(self) -> None:
        """Write the queued steps whose seconds are all reported, in order."""
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
