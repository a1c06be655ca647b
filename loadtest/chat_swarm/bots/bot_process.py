"""What the bots of one process share, and the process's second-by-second account of them.

Knows the reactor, the recorder and the audit. Must not know Locust, nor what a kind of bot does.
"""

import collections
import gc
import logging
import random
import resource
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, Protocol

from chat_swarm.audit.process_audit import Audit
from chat_swarm.bots.connection import Address
from chat_swarm.bots.frame_cache import Frames
from chat_swarm.bots.slots import PAIR, ROOM, Ask, Layout, SeatBook
from chat_swarm.bots.source_addresses import Sources
from chat_swarm.loop.event_loop import TICK_NS, Reactor
from chat_swarm.loop.rx_timestamps import Stamping
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.plan import Plan
from chat_swarm.model.recorder import Recorder
from chat_swarm.model.schema import Interval

log = logging.getLogger(__name__)

_SECOND_NS: Final = 1_000_000_000
_EARLY_NS: Final = 5_000_000
"""How much too early a second's timer may ring: more than a clock that is being set slews in a second."""
_BUSY: Final = 0.95
"""Share of a core over which a process of bots is its own bottleneck: Python uses no more than one."""
_WARNINGS: Final = 20
NEW: Final = 5
"""Seconds that a bot may take to get in before it counts as one that did not."""

Sink = Callable[[Interval, dict[str, Histogram]], object]


class Member(Protocol):
    """A bot, as far as the run as a whole has to do with it. None of these may block."""

    name: str
    up: bool

    def __init__(self, engine: "Engine") -> None:
        """Be a bot of this engine."""

    def begin(self) -> None:
        """Start."""

    def end(self) -> None:
        """Stop for good."""

    def cut(self) -> None:
        """Lose the connection, and come back."""

    def retimed(self) -> None:
        """Follow `Engine.rate_factor`."""

    def stopped(self) -> None:
        """Say nothing more."""

    def unacknowledged(self) -> int:
        """Return how many messages wait for their echo."""

    def was_there(self) -> bool:
        """Return whether it has ever had a session."""

    def is_new(self) -> bool:
        """Return whether it has begun within the last seconds, and nothing has failed."""

    def reckon(self) -> None:
        """Tell the audit what was never answered."""


class Engine:
    """All bots of one process in one run.

    `address` is the server's, resolved; `ask` sends for seats (bots/slots.py); `sink` gets each second's
    account, the histograms apart from it.
    """

    def __init__(
        self,
        plan: Plan,
        run: str,
        address: Address,
        *,
        process: int = 0,
        processes: int = 1,
        ask: Callable[[Ask], None],
        sink: Sink,
    ) -> None:
        self.plan = plan
        self.run: Final = run
        self.address: Final = address
        self.process: Final = process
        self.audit: Final = Audit()
        self.recorder: Final = Recorder()
        self.frames: Final = Frames(run, self.audit)
        self._stamping: Final = Stamping()
        self.reactor: Final = Reactor(self._lagged, self.erred)
        self.layout: Final = Layout(plan.room_size, plan.rooms)
        blocks = {ROOM: self.layout.block(processes), PAIR: 1}
        self.seats: Final = SeatBook(f"{run}.{process}", blocks, ask)
        self.sources: Final = Sources(ip_address(address[0]), plan.source_addresses, process, processes)
        self.bots: Final[set[Member]] = set()
        self.counters: Final[dict[str, int]] = {}
        """Name of a bot that has ended → its last message's counter."""
        self.connected = 0
        self.peak_connected = 0
        self.stopping = False
        """Whether nothing more is to be said."""
        self.rate_factor = 1.0
        self.random: Final = random.Random(f"{run}.{process}")
        self.errors: Final[collections.Counter[str]] = collections.Counter()
        """Error code, reason or errno → how often."""
        self.warnings: Final[list[str]] = []
        self.offset_ns = clock_offset_ns()
        """The wall clock less the monotonic one."""
        self.clock_step_ns = 0
        self._new: set[Member] = set()  # on their way in when sending stopped: nobody can blame them
        self._sink = sink
        self._lag_max_ns = 0
        self._cpu_ns = time.process_time_ns()
        self._second_ns = time.monotonic_ns()
        self._closed = False
        self._wait_for_next_second()

    # What bots ask for.

    def name_of(self, kind: str, seat: int) -> str:
        """Return the username of who has a seat."""
        return f"{self.run}{kind[0]}{seat}"

    def room_of(self, seat: int) -> str:
        """Return the room of a seat."""
        return f"{self.plan.room_prefix}-{self.layout.room(seat)[0]}"

    def count(self, name: str, number: int = 1) -> None:
        """Count something of `metrics.COUNTS`."""
        self.recorder.counts[name] += number

    def error(self, what: str, *, fault: bool = True) -> None:
        """Note a code, reason or errno; one that is no fault of the server's is noted, and not counted."""
        self.errors[what] += 1
        self.count("errors", int(fault))

    def warn(self, sentence: str) -> None:
        """Tell whoever reads the report."""
        if len(self.warnings) < _WARNINGS and sentence not in self.warnings:
            self.warnings.append(sentence)

    # What the run asks for.

    def set_rate(self, factor: float) -> None:
        """Have all bots say `factor` times as much as planned."""
        self.rate_factor = factor
        for bot in list(self.bots):
            bot.retimed()

    def cut(self, share: float, spread_seconds: float) -> int:
        """Cut a share of the connections within so many seconds; they come back. Return how many."""
        there = sorted((bot for bot in self.bots if bot.up), key=lambda bot: bot.name)
        victims = self.random.sample(there, min(len(there), round(share * len(there))))
        for number, bot in enumerate(victims):
            self.reactor.after(spread_seconds * number / max(1, len(victims)), bot.cut)
        return len(victims)

    def stop_sending(self) -> None:
        """Say nothing more; acknowledgements and deliveries are still taken."""
        self.stopping = True
        self._new = {bot for bot in self.bots if bot.is_new()}
        for bot in list(self.bots):
            bot.stopped()

    def unacknowledged(self) -> int:
        """Return how many messages of bots whose session stands wait for their echo."""
        return sum(bot.unacknowledged() for bot in self.bots if bot.up)

    def heads(self) -> dict[str, int]:
        """Return the highest seq that is known here of each room."""
        return self.audit.heads()

    def behind(self, heads: Mapping[str, int]) -> int:
        """Return how many receivers have not got all up to these seqs, or have no session to get it by."""
        return self.audit.behind(heads) + self.away()

    def away(self) -> int:
        """Return how many bots are without the session that they had."""
        return sum(bot.was_there() and not bot.up for bot in self.bots)

    def final(self) -> dict[str, Any]:
        """Return what the whole run's reckoning needs from this process."""
        for bot in self.bots:
            bot.reckon()
        return {
            "audit": self.audit.final(),
            "errors": dict(self.errors),
            "warnings": list(self.warnings),
            "never_there": sum(not bot.was_there() for bot in self.bots - self._new),
            "away": self.away(),
            "unstamped": self.recorder.unstamped,
            "early": self.recorder.early,
            "clock_step_us": self.clock_step_ns // 1000,
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "unknown_frames": self.frames.unknown,
        }

    def close(self) -> None:
        """End all bots and give the descriptors back."""
        for bot in list(self.bots):
            bot.end()
        self._closed = True
        self.reactor.close()
        self._stamping.close()

    # Its own time.

    def _lagged(self, nanoseconds: int) -> None:
        self._lag_max_ns = max(self._lag_max_ns, nanoseconds)
        self.recorder.lag(nanoseconds, TICK_NS)

    def erred(self, error: BaseException) -> None:
        """Note a mistake of our own."""
        self.error("swarm_erred")
        self.warn(f"The swarm itself erred, so its figures are doubtful: {error!r}")

    def _every_second(self) -> None:
        if self._closed:
            return
        self.account()
        self.seats.ask_again()
        self._wait_for_next_second()

    def _wait_for_next_second(self) -> None:
        # The wall clock's: so the seconds of all processes are the same ones.
        self.reactor.at(time.monotonic_ns() + to_next_second(time.time_ns()), self._every_second)

    def account(self) -> None:
        """Hand on what happened since the last time."""
        now, cpu = time.monotonic_ns(), time.process_time_ns()
        seconds = max(now - self._second_ns, 1) / _SECOND_NS
        offset = clock_offset_ns()
        self.clock_step_ns = max(self.clock_step_ns, abs(offset - self.offset_ns))
        self.offset_ns = offset
        counts, histograms = self.recorder.take()
        interval = Interval(
            unix=second_of(self._second_ns + offset, now + offset),
            process=self.process,
            seconds=seconds,
            bots=len(self.bots),
            connected=self.connected,
            counts=counts,
            faults=self.audit.take_faults(),
            cpu=(cpu - self._cpu_ns) / _SECOND_NS / seconds,
            loop_lag_max_us=self._lag_max_ns // 1000,
        )
        interval.marked = self._why_marked(interval, histograms.get("send_lag"))
        self._second_ns, self._cpu_ns, self._lag_max_ns = now, cpu, 0
        self._sink(interval, histograms)

    def _why_marked(self, interval: Interval, send_lag: Histogram | None) -> str:
        """Say why the generator was the bottleneck in a second; empty if it was not."""
        limit = self.plan.lag_limit
        if interval.loop_lag_max_us > limit * 1e6:
            return f"loop lag over {limit * 1e3:g} ms"
        if interval.cpu > _BUSY:
            return f"CPU over {_BUSY:.0%} of a core"
        if send_lag is not None and send_lag.largest > limit * 1e6:
            return f"sent late by over {limit * 1e3:g} ms"  # it makes up for the second before
        return ""


def to_next_second(wall_ns: int) -> int:
    """Return in how many ns the second after this one begins; one that is about to begin has begun."""
    return _SECOND_NS - (wall_ns + _EARLY_NS) % _SECOND_NS + _EARLY_NS


def second_of(begun_ns: int, ended_ns: int) -> int:
    """Return the second that an account from one moment to another, in ns of the wall clock, is of.

    That is the middle one of those which ended within it, or the one that both moments are in. So no two
    accounts in a row that each see a second's end are of the same one, however late they are.
    """
    begun, ended = begun_ns + _EARLY_NS, ended_ns + _EARLY_NS
    return (begun + ended - ended % _SECOND_NS) // 2 // _SECOND_NS


def clock_offset_ns() -> int:
    """Return the wall clock less the monotonic one: of a few readings the one that took least time."""
    best, least = 0, 1 << 62
    for _ in range(3):
        before = time.monotonic_ns()
        wall = time.time_ns()
        took = time.monotonic_ns() - before
        if took < least:
            best, least = wall - before - took // 2, took
    return best


def spare_the_collector() -> None:
    """Have the garbage collector look rarely: bots make few cycles, and each look at them all is a pause."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open files to its hard limit; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
