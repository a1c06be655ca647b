"""Describes a run's storms in sentences: connections cut, sessions resumed, time to resume, catch-up."""

from typing import Final

from chat_swarm.model.plan import CUT_RECONNECT_MAX_S
from chat_swarm.model.schema import Quantiles
from chat_swarm.model.units import count, microseconds, plural
from chat_swarm.results.finished_run import FinishedRun

STORM_SHAPE: Final = "storm"
"""Name of the shape, and prefix of its step names."""
_MAX_LISTED_STORMS: Final = 5
"""Up to so many storms are listed with their times."""


def describe_storms(run: FinishedRun) -> list[str]:
    """Return sentences about the storms; empty if the run had another shape."""
    if run.summary.shape != STORM_SHAPE:
        return []
    began: dict[str, int] = {}
    for row in run.rows:
        if row.step.startswith(STORM_SHAPE):
            began.setdefault(row.step, row.t)
    if not began:
        every = run.summary.options.get("shape_every", 0)
        when = f"{every:g} s after all bots are connected (--shape-every)"
        return [f"No storm: the first is {when}, and the run ended before that."]
    return [_describe_cuts(run, list(began.values())), *_describe_wait(run), *_describe_catch_up(run)]


def all_resumed(run: FinishedRun) -> bool:
    """Return whether all cut connections resumed their sessions."""
    counts = run.scope("all").counts
    return 0 < counts.get("cuts", 0) == counts.get("resumed", 0)


def _describe_cuts(run: FinishedRun, starts: list[int]) -> str:
    counts = run.scope("all").counts
    cut, back, fresh = (counts.get(name, 0) for name in ("cuts", "resumed", "not_resumed"))
    others = ", including ChurnBots' own cuts" if run.summary.bots.get("ChurnBot") else ""
    text = f"{plural(len(starts), 'storm')} ({_list_times(starts)}) cut {plural(cut, 'connection')}{others};"
    text += f"{' all' if back == cut else ''} {count(back)} resumed their sessions"
    if back != cut:
        text += f", {count(fresh)} got new ones" if fresh else ""
        text += f", {count(cut - back - fresh)} were still away at the end" if cut > back + fresh else ""
    resume = run.scope("all").metrics.get("resume") or Quantiles()
    if not resume.count:
        return f"{text}."
    known = f" of {count(resume.count)} timed ones" if resume.count < back else ""
    return f"{text}; the slowest resume{known} took {microseconds(resume.max)}."


def _describe_wait(run: FinishedRun) -> list[str]:
    resume = run.scope("all").metrics.get("resume")
    own = (
        f"Each resume includes up to {CUT_RECONNECT_MAX_S * 1000:g} ms, at random, that the bot waits"
        " before it reconnects."
    )
    return [own] if resume is not None and resume.count else []


def _list_times(seconds: list[int]) -> str:
    *first, last = (str(one) for one in seconds)
    if len(seconds) > _MAX_LISTED_STORMS:
        return f"from {first[0]} s to {last} s"
    return f"at {', '.join(first)} and {last} s" if first else f"at {last} s"


def _describe_catch_up(run: FinishedRun) -> list[str]:
    scope = run.scope("all")
    number = scope.counts.get("caught_up", 0)
    if not number:
        return ["They missed no messages."] if all_resumed(run) else []
    late = scope.metrics.get("catch_up") or Quantiles()
    last = f", at most {microseconds(late.max)} after being sent" if late.count else ""
    return [f"The bots caught up with {plural(number, 'missed message')}{last}."]
