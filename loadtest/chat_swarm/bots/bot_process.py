"""What the bots of one process share; reports each second, and whether the process was the bottleneck in it.

Shared are event loop, recorder, audit and slots. model/bottleneck.py has the limits of a bottleneck.
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

from chat_swarm.audit.process_audit import ProcessAudit
from chat_swarm.bots.connection import SocketAddress
from chat_swarm.bots.frame_cache import FrameCache
from chat_swarm.bots.local_ports import read_local_ports
from chat_swarm.bots.slots import PAIR_SLOT, ROOM_SLOT, RoomLayout, SlotPool, SlotRequest
from chat_swarm.bots.source_addresses import SourceAddresses
from chat_swarm.loop.event_loop import LAG_PROBE_PERIOD_NS, EventLoop
from chat_swarm.loop.rx_timestamps import RxTimestamping
from chat_swarm.model.bottleneck import overload_reason
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.plan import RunPlan
from chat_swarm.model.recorder import Recorder
from chat_swarm.model.schema import ProcessSecond

log = logging.getLogger(__name__)

_NS_PER_S: Final = 1_000_000_000
_EARLY_TIMER_NS: Final = 5_000_000
"""How early the timer of a second may fire: more than a clock slews in a second (adjtime(3))."""
_WARNINGS_KEPT: Final = 20
_LAST_READS: Final = 2
"""Iterations of the event loop before the final report."""
FIRST_LOGIN_S: Final = 5
"""A bot without a session for longer than this after its start counts as `never_there`."""

Sink = Callable[[ProcessSecond, dict[str, Histogram]], object]


class Bot(Protocol):
    """A bot, as the process controls it. Methods MUST NOT block."""

    name: str
    up: bool

    def __init__(self, process: "BotProcess") -> None:
        """Create a bot of this process; `start` connects it."""

    def start(self) -> None:
        """Request a slot, then connect; the bot reconnects by itself until `shut_down`."""

    def shut_down(self) -> None:
        """Quit, close the connection and release the slot, for good."""

    def cut_connection(self) -> None:
        """Reset the connection without a `quit`, then reconnect."""

    def apply_rate(self) -> None:
        """Apply a changed `BotProcess.rate_factor`."""

    def stop_sending(self) -> None:
        """Send no further message; the connection stays."""

    def count_unacknowledged(self) -> int:
        """Return the number of messages without an echo yet."""

    def had_session(self) -> bool:
        """Return whether it has ever had a session."""

    def is_first_login_pending(self) -> bool:
        """Return whether its first attempt started less than `FIRST_LOGIN_S` ago and has not failed."""

    def report_unanswered(self) -> None:
        """Report messages without an answer to the audit, at the end of the drain."""


class BotProcess:
    """All bots of one process in one run.

    `address`: the server's, resolved; `send_slot_request`: sends a `SlotRequest` (bots/slots.py) to the
    master; `sink`: called with the report of each second and its histograms.
    """

    def __init__(
        self,
        plan: RunPlan,
        run_id: str,
        address: SocketAddress,
        *,
        process_number: int = 0,
        processes: int = 1,
        send_slot_request: Callable[[SlotRequest], None],
        sink: Sink,
    ) -> None:
        self.plan = plan
        self.run_id: Final = run_id
        self.address: Final = address
        self.process_number: Final = process_number
        self.audit: Final = ProcessAudit()
        self.recorder: Final = Recorder()
        self.frame_cache: Final = FrameCache(run_id)
        self.audit.find_line = self.frame_cache.find_line
        self._rx_timestamping: Final = RxTimestamping()
        self.loop: Final = EventLoop(self._record_loop_lag, self.count_internal_error)
        self.layout: Final = RoomLayout(plan.room_size, plan.rooms)
        request_sizes = {ROOM_SLOT: self.layout.request_size(processes), PAIR_SLOT: 1}
        self.slots: Final = SlotPool(f"{run_id}.{process_number}", request_sizes, send_slot_request)
        self.source_addresses: Final = SourceAddresses(
            ip_address(address[0]),
            plan.source_addresses,
            process_number,
            processes,
            read_local_ports().connections_per_address,
        )
        self.bots: Final[set[Bot]] = set()
        self.last_counters: Final[dict[str, int]] = {}
        """Name of a bot that was shut down → counter of its last message."""
        self.connected = 0
        self.peak_connected = 0
        self.sending_stopped = False
        """Whether the run has stopped sending."""
        self.rate_factor = 1.0
        self.random: Final = random.Random(f"{run_id}.{process_number}")
        self.errors: Final[collections.Counter[str]] = collections.Counter()
        """Error code, reason or errno → count."""
        self.warnings: Final[list[str]] = []
        self.wall_offset_ns = clock_offset_ns()
        """Wall clock minus monotonic clock."""
        self.clock_step_ns = 0
        self._logging_in: set[Bot] = set()  # first login pending when sending stopped: no fault
        self._sink = sink
        self._lag_max_ns = 0
        self._cpu_ns = time.process_time_ns()
        self._second_start_ns = time.monotonic_ns()
        self._closed = False
        self._schedule_next_second()

    # For the bots.

    def name_of(self, kind: str, slot: int) -> str:
        """Return the username of the bot in a slot."""
        return f"{self.run_id}{kind[0]}{slot}"

    def room_of(self, slot: int) -> str:
        """Return the room of a slot."""
        return f"{self.plan.room_prefix}-{self.layout.room_and_place(slot)[0]}"

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count, by its name in `metric_names.COUNTS`."""
        self.recorder.counts[name] += number

    def count_error(self, what: str, *, fault: bool = True) -> None:
        """Record an error code, reason or errno; without `fault` it does not add to the count `errors`."""
        self.errors[what] += 1
        self.count("errors", int(fault))

    def warn(self, sentence: str) -> None:
        """Add a warning to the report, once."""
        if len(self.warnings) < _WARNINGS_KEPT and sentence not in self.warnings:
            self.warnings.append(sentence)

    # For the run.

    def set_rate(self, factor: float) -> None:
        """Multiply the message rate of all bots by `factor`, relative to the plan."""
        self.rate_factor = factor
        for bot in list(self.bots):
            bot.apply_rate()

    def cut_connections(self, share: float, spread_seconds: float) -> int:
        """Cut a share of the connections over `spread_seconds`; the bots reconnect. Return the number."""
        connected = sorted((bot for bot in self.bots if bot.up), key=lambda bot: bot.name)
        victims = self.random.sample(connected, min(len(connected), round(share * len(connected))))
        for number, bot in enumerate(victims):
            self.loop.call_later(spread_seconds * number / max(1, len(victims)), bot.cut_connection)
        return len(victims)

    def stop_sending(self) -> None:
        """Stop sending messages; acknowledgements and deliveries are still received."""
        self.sending_stopped = True
        self._logging_in = {bot for bot in self.bots if bot.is_first_login_pending()}
        for bot in list(self.bots):
            bot.stop_sending()

    def count_unacknowledged(self) -> int:
        """Return the number of messages without an echo yet, of bots with a session."""
        return sum(bot.count_unacknowledged() for bot in self.bots if bot.up)

    def heads(self) -> dict[str, int]:
        """Return the highest seq of each room that this process knows."""
        return self.audit.heads()

    def count_behind(self, heads: Mapping[str, int]) -> int:
        """Return the number of receivers below these heads, plus the bots that lost their session."""
        return self.audit.count_behind(heads) + self.count_away()

    def count_away(self) -> int:
        """Return the number of bots that had a session and have none now."""
        return sum(bot.had_session() and not bot.up for bot in self.bots)

    def final_report(self) -> dict[str, Any]:
        """Return this process's part of the run's result, as plain data for msgpack."""
        for _ in range(_LAST_READS):
            self.loop.run_once()  # so that only bots with a backlog have unread bytes
        for bot in list(self.bots):
            bot.report_unanswered()
        return {
            "audit": self.audit.final_report(),
            "errors": dict(self.errors),
            "warnings": list(self.warnings),
            "never_there": sum(not bot.had_session() for bot in self.bots - self._logging_in),
            "away": self.count_away(),
            "unstamped": self.recorder.unstamped_reads,
            "early": self.recorder.early_deliveries,
            "clock_step_us": self.clock_step_ns // 1000,
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "unknown_frames": self.frame_cache.unknown_frames,
        }

    def close(self) -> None:
        """Shut down all bots and close all descriptors."""
        for bot in list(self.bots):
            bot.shut_down()
        self._closed = True
        self.loop.close()
        self._rx_timestamping.close()

    # The report of each second.

    def _record_loop_lag(self, nanoseconds: int) -> None:
        self._lag_max_ns = max(self._lag_max_ns, nanoseconds)
        self.recorder.add_loop_lag(nanoseconds, LAG_PROBE_PERIOD_NS)

    def count_internal_error(self, error: BaseException) -> None:
        """Record an exception in the swarm's own code."""
        self.count_error("swarm_erred")
        self.warn(f"Internal error in the load generator; its figures are unreliable: {error!r}")

    def _every_second(self) -> None:
        if self._closed:
            return
        self.report_second()
        self.slots.repeat_requests()
        self._schedule_next_second()

    def _schedule_next_second(self) -> None:
        # By the wall clock, so that the seconds of all processes are the same.
        self.loop.call_at(time.monotonic_ns() + ns_to_next_second(time.time_ns()), self._every_second)

    def report_second(self) -> None:
        """Pass the report since the last call to `sink`."""
        now, cpu = time.monotonic_ns(), time.process_time_ns()
        seconds = max(now - self._second_start_ns, 1) / _NS_PER_S
        offset = clock_offset_ns()
        self.clock_step_ns = max(self.clock_step_ns, abs(offset - self.wall_offset_ns))
        self.wall_offset_ns = offset
        counts, histograms = self.recorder.flush()
        interval = ProcessSecond(
            unix=second_covered(self._second_start_ns + offset, now + offset),
            process=self.process_number,
            seconds=seconds,
            bots=len(self.bots),
            connected=self.connected,
            counts=counts,
            faults=self.audit.take_faults(),
            cpu=(cpu - self._cpu_ns) / _NS_PER_S / seconds,
            loop_lag_max_us=self._lag_max_ns // 1000,
            slowest=self.recorder.slowest,
            silence_us=self.recorder.silence_us,
        )
        send_lag = histograms.get("send_lag")
        interval.marked = overload_reason(
            lag_limit_s=self.plan.lag_limit,
            loop_lag_max_us=interval.loop_lag_max_us,
            cpu_cores=interval.cpu,
            send_lag_max_us=0 if send_lag is None else send_lag.largest,
        )
        self._second_start_ns, self._cpu_ns, self._lag_max_ns = now, cpu, 0
        self._sink(interval, histograms)


def ns_to_next_second(wall_ns: int) -> int:
    """Return the ns to the next second; one that starts within `_EARLY_TIMER_NS` counts as started."""
    return _NS_PER_S - (wall_ns + _EARLY_TIMER_NS) % _NS_PER_S + _EARLY_TIMER_NS


def second_covered(begun_ns: int, ended_ns: int) -> int:
    """Return the second (epoch) that a report from `begun_ns` to `ended_ns` (wall clock) is assigned to.

    It is the middle one of the seconds that ended within the report, or the one that contains both times. So
    two consecutive reports that each contain the end of a second are never assigned to the same one, however
    late.
    """
    begun, ended = begun_ns + _EARLY_TIMER_NS, ended_ns + _EARLY_TIMER_NS
    return (begun + ended - ended % _NS_PER_S) // 2 // _NS_PER_S


def clock_offset_ns() -> int:
    """Return wall clock minus monotonic clock, in ns: the fastest of three readings."""
    best, least = 0, 1 << 62
    for _ in range(3):
        before = time.monotonic_ns()
        wall = time.time_ns()
        took = time.monotonic_ns() - before
        if took < least:
            best, least = wall - before - took // 2, took
    return best


def reduce_gc_pauses() -> None:
    """Make the garbage collector run rarely: bots make few cycles, and each full collection is a pause."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files (RLIMIT_NOFILE) to the hard limit; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
