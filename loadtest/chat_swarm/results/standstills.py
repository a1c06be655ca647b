"""Times in which nothing arrived on any connection, though messages were under way: what can be said of them.

A receiver's arrivals are timed by the kernel, so a bot that was late does not look like a standstill. But
from outside, a server that stalled and a path that did are the same.
"""

from collections.abc import Iterator
from typing import Final

from chat_swarm.model.schema import ServerLogFigures, TimelineRow
from chat_swarm.model.units import microseconds, plural
from chat_swarm.results.finished_run import FinishedRun

STANDSTILL_US: Final = 250_000
"""A shorter one is not reported."""


def standstill_sentences(run: FinishedRun) -> Iterator[str]:
    """Yield a sentence if all connections stalled at the same time; none if they did not."""
    rows = [row for row in run.rows if row.standstill_us >= STANDSTILL_US]
    if not rows:
        return
    longest = max(rows, key=lambda row: row.standstill_us)
    times = "once" if len(rows) == 1 else plural(len(rows), "time")
    length = "for" if len(rows) == 1 else "the longest for"
    yield (
        f"All connections stalled {times}, {length} {microseconds(longest.standstill_us)} until second"
        f" {longest.t}: nothing arrived anywhere, though messages were under way. {_blame(longest, run)}"
    )


def _blame(longest: TimelineRow, run: FinishedRun) -> str:
    if longest.marked:
        return "The generator is marked then: it may have been this machine that stalled."
    log = run.summary.server_log
    if log is None or log.problem:
        return (
            "It was the server or the path to it, not the bots; which of the two, only the server's own log"
            " says (--server-log)."
        )
    own = _slowest_by_log(log)
    if own < longest.standstill_us / 2:
        return f"It was the path: by its own log the server was never later than {microseconds(own)}."
    return f"It was the server: by its own log it was up to {microseconds(own)} late itself."


def _slowest_by_log(log: ServerLogFigures) -> int:
    return max(log.loop_lag_max_us, log.accept_to_commit.max, log.commit_to_sent.max)
