"""What the storms of a run came to, in sentences: how many were cut, who came back, and how soon.

Knows a run. Must not know where the sentences are shown.
"""

from typing import Final

from chat_swarm.model.plan import CUT_WAIT
from chat_swarm.model.schema import Quantiles
from chat_swarm.model.units import count, microseconds, plural
from chat_swarm.results.finished_run import FinishedRun

STORM_SHAPE: Final = "storm"
"""The shape, and with what the names of its seconds begin."""
_MAX_LISTED_STORMS: Final = 5
"""Storms whose moments are listed."""


def describe_storms(run: FinishedRun) -> list[str]:
    """Return what they did; nothing if the run's shape was another."""
    if run.summary.shape != STORM_SHAPE:
        return []
    began: dict[str, int] = {}
    for row in run.rows:
        if row.step.startswith(STORM_SHAPE):
            began.setdefault(row.step, row.t)
    if not began:
        every = run.summary.options.get("shape_every", 0)
        when = f"{every:g} s after all bots are there (--shape-every)"
        return [f"None came: the first is {when}, and the run was over before."]
    return [_describe_cuts(run, list(began.values())), *_describe_wait(run), *_describe_catch_up(run)]


def all_resumed(run: FinishedRun) -> bool:
    """Return whether all that were cut came back to the sessions that they had."""
    counts = run.scope("all").counts
    return 0 < counts.get("cuts", 0) == counts.get("resumed", 0)


def _describe_cuts(run: FinishedRun, starts: list[int]) -> str:
    counts = run.scope("all").counts
    cut, back, fresh = (counts.get(name, 0) for name in ("cuts", "resumed", "not_resumed"))
    others = ", ChurnBots' own goings with them" if run.summary.bots.get("ChurnBot") else ""
    text = f"{plural(len(starts), 'storm')} ({_list_times(starts)}) cut {plural(cut, 'connection')}{others};"
    text += f"{' all' if back == cut else ''} {count(back)} came back to their sessions"
    if back != cut:
        text += f", {count(fresh)} to new ones" if fresh else ""
        text += f", {count(cut - back - fresh)} had not come back at the end" if cut > back + fresh else ""
    resume = run.scope("all").metrics.get("resume") or Quantiles()
    if not resume.count:
        return f"{text}."
    known = f" of {count(resume.count)} that were timed" if resume.count < back else ""
    return f"{text}; the slowest return{known} took {microseconds(resume.max)}."


def _describe_wait(run: FinishedRun) -> list[str]:
    resume = run.scope("all").metrics.get("resume")
    own = (
        f"Of each return up to {CUT_WAIT * 1000:g} ms, at random, is the bot's own wait before it connects"
        " again."
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
        return ["They missed nothing meanwhile."] if all_resumed(run) else []
    late = scope.metrics.get("catch_up") or Quantiles()
    last = f", at most {microseconds(late.max)} after it was sent" if late.count else ""
    return [f"What they missed, {plural(number, 'message')}, reached them in the end{last}."]
