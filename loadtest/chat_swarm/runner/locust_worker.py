"""A process of bots under Locust: the engine of each run, driven by gevent's loop, and its reports.

Knows gevent, the engine and the messages. Must not know what Locust's events are called
(locust_plugin/plugin.py does).
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent
import msgspec

from chat_swarm.bots.bot_process import Engine, Member, raise_descriptor_limit, spare_the_collector
from chat_swarm.bots.slots import ANSWER, ASK
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import METRIC, Metric
from chat_swarm.model.plan import Plan
from chat_swarm.model.schema import Interval
from chat_swarm.runner import ipc
from chat_swarm.runner.preflight import resolve

log = logging.getLogger(__name__)

_LOOK: Final = 0.02  # seconds between two looks at whether a drain is done
_GATHERING: Final = 0.05
"""Seconds in which bots are gathered that begin together."""
_READ: Final = 1  # libev's EV_READ


class Send(Protocol):
    """How a message leaves."""

    def __call__(self, name: str, data: dict[str, Any]) -> None:
        """Send `data` to the control."""


class Tables(Protocol):
    """Locust's tables (locust_plugin/stats_feed.py)."""

    def add(self, metric: Metric, samples: list[tuple[float, int]], length_bytes: int = 0) -> None:
        """Count (milliseconds, how often) pairs."""

    def fail(self, what: str, error: str, count: int = 1, kind: str = "audit") -> None:
        """Count failures."""


class Station:
    """The bots of this process. `local` tells whether the control is in the same process."""

    def __init__(self, send: Send, tables: Tables, *, local: bool) -> None:
        self.engine: Engine | None = None
        self._send = send
        self._tables = tables
        self._local = local
        self._watcher: Any = None
        self._run = ""
        self._gathered: list[Member] = []
        self._errors: Counter[str] = Counter()
        self._rss_before = 0
        self._judged = False
        """Whether the run's last account is given; what comes later is in no summary, and in no table."""

    # The messages of the control.

    def listeners(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        """Return what is to be called for which message."""
        return {
            ipc.RATE: lambda data: self._with_engine(lambda engine: engine.set_rate(data["factor"])),
            ipc.CUT: lambda data: self._with_engine(lambda engine: engine.cut(data["share"], data["spread"])),
            ipc.HALT: lambda _: self._with_engine(self._halt),
            ipc.CATCH_UP: lambda data: self._with_engine(
                lambda engine: self._catch_up(engine, data["heads"])
            ),
            ANSWER: lambda data: self._with_engine(lambda engine: engine.seats.answered(data)),
        }

    def _with_engine(self, act: Callable[[Engine], object]) -> None:
        if self.engine is not None:
            act(self.engine)

    def _halt(self, engine: Engine) -> None:
        engine.stop_sending()
        gevent.spawn(self._when, engine, lambda: not engine.unacknowledged(), self._tell_heads)

    def _catch_up(self, engine: Engine, heads: dict[str, int]) -> None:
        gevent.spawn(self._when, engine, lambda: not engine.behind(heads), self._tell_final)

    def _when(self, engine: Engine, done: Callable[[], bool], then: Callable[[Engine], None]) -> None:
        """Call `then` when something is done, or when the drain's time is over, if the run is still on."""
        end = time.monotonic() + engine.plan.drain
        while engine is self.engine and not done() and time.monotonic() < end:
            gevent.sleep(_LOOK)
        if engine is self.engine:
            then(engine)

    def _tell_heads(self, engine: Engine) -> None:
        told = {"run": engine.run, "process": engine.process, "heads": engine.heads()}
        self._send(ipc.HEADS, told)

    def _tell_final(self, engine: Engine) -> None:
        engine.account()
        self._judged = True
        final = engine.final()
        final.update(run=engine.run, process=engine.process, rss_before=self._rss_before, pid=os.getpid())
        self._send(ipc.FINAL, final)

    # The life of a run.

    def start(self, plan: Plan, roll: dict[str, Any], station: str) -> None:
        """Make ready for bots, as the station of that id on the roll (messages.ROLL).

        Raises OSError where the server's name cannot be resolved.
        """
        self.stop()
        processes = roll["processes"]
        raise_descriptor_limit()
        engine = Engine(
            plan,
            roll["run"],
            resolve(plan.host, plan.port),
            process=processes[station],
            processes=len(processes),
            ask=lambda ask: self._send(ASK, dict(ask)),
            sink=self._report,
        )
        self._run = engine.run
        engine.set_rate(roll["factor"])
        self._rss_before = _resident()
        self._judged = False
        self._errors.clear()
        self.engine = engine
        self._watcher = gevent.get_hub().loop.io(engine.reactor.fileno(), _READ)
        self._watcher.start(engine.reactor.turn)
        spare_the_collector()

    def gather(self, bot: Member) -> None:
        """Begin a bot, with all that come within a moment, in any order.

        Locust starts a second's worth of users class by class. Seats are had in the order of asking, so each
        class would have rooms of its own, and those who only read one in which nobody speaks.
        """
        assert self.engine is not None
        self._gathered.append(bot)
        if len(self._gathered) == 1:
            self.engine.reactor.after(_GATHERING, self._begin)

    def _begin(self) -> None:
        gathered, self._gathered = self._gathered, []
        if self.engine is None or self.engine.stopping:
            return  # who would begin in the drain would never be there
        self.engine.random.shuffle(gathered)
        for bot in gathered:
            bot.begin()

    def end(self, bot: Member) -> None:
        """End a bot, whether it has begun or not."""
        if bot in self._gathered:
            self._gathered.remove(bot)
        else:
            bot.end()

    def stop(self) -> None:
        """End all bots, and give back what the run had."""
        self._gathered = []
        if self.engine is None:
            return
        self._watcher.stop()
        self._watcher.close()
        self.engine.close()
        self.engine = None

    def _report(self, interval: Interval, histograms: dict[str, Histogram]) -> None:
        if self._judged:
            return
        self._fill_tables(interval, histograms)
        if self._local:
            told = {"run": self._run, "interval": interval, "histograms": histograms}
            self._send(ipc.SECOND, told)
        else:
            interval.histograms = {name: histogram.pack() for name, histogram in histograms.items()}
            plain = msgspec.to_builtins(interval, builtin_types=(bytes,))
            self._send(ipc.SECOND, {"run": self._run, "interval": plain})

    def _fill_tables(self, interval: Interval, histograms: dict[str, Histogram]) -> None:
        for name, histogram in histograms.items():
            samples = [(value / 1000, count) for value, count in histogram.buckets()]
            size = interval.counts.get("received_bytes", 0) if name == "delivery" else 0
            self._tables.add(METRIC[name], samples, size)
        for fault, count in interval.faults.items():
            self._tables.fail(fault, f"audit: {fault}", count)
        assert self.engine is not None
        errors = self.engine.errors
        for what, count in errors.items():
            if count > self._errors[what]:
                self._tables.fail(what, what, count - self._errors[what], "error")
        self._errors.update({what: count - self._errors[what] for what, count in errors.items()})


def _resident() -> int:
    """Return this process's resident memory, in bytes, at this moment."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  one read of a pseudo file
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
