"""Runs the bots of one Locust process: drives their event loop from gevent's, and sends their reports.

gevent's hub watches the event loop's epoll descriptor, so all bots run in a callback of gevent's hub: they
MUST NOT switch greenlets. Locust's events are handled in locust_plugin/plugin.py.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent
import msgspec

from chat_swarm.bots.bot_process import Bot, BotProcess, raise_descriptor_limit, reduce_gc_pauses
from chat_swarm.bots.slots import SLOT_GRANT_MESSAGE, SLOT_REQUEST_MESSAGE
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import METRIC_BY_NAME, LatencyMetric
from chat_swarm.model.plan import RunPlan
from chat_swarm.model.schema import ProcessSecond
from chat_swarm.runner import ipc
from chat_swarm.runner.preflight import resolve_server

log = logging.getLogger(__name__)

_DRAIN_POLL_S: Final = 0.02  # between two checks whether a drain is done
_START_BATCH_S: Final = 0.05
"""Bots that Locust starts within this time begin together, in random order."""
_EV_READ: Final = 1  # libev's EV_READ


class SendToMaster(Protocol):
    """Sends a message to the coordinator."""

    def __call__(self, name: str, data: dict[str, Any]) -> None:
        """Send `data` under the name of the message."""


class LocustStats(Protocol):
    """Locust's statistics; implemented in locust_plugin/stats_feed.py."""

    def add_samples(
        self, metric: LatencyMetric, samples: list[tuple[float, int]], length_bytes: int = 0
    ) -> None:
        """Add (milliseconds, count) pairs to a metric's row."""

    def add_failures(self, what: str, error: str, count: int = 1, kind: str = "audit") -> None:
        """Add `count` failures of `what`."""


class LocustWorker:
    """The bots of this process. `local`: the coordinator is in the same process, so nothing is serialised."""

    def __init__(self, send: SendToMaster, tables: LocustStats, *, local: bool) -> None:
        self.bot_process: BotProcess | None = None
        self._send = send
        self._locust_stats = tables
        self._local = local
        self._watcher: Any = None
        self._run_name = ""
        self._starting: list[Bot] = []
        self._reported_errors: Counter[str] = Counter()
        self._rss_before = 0
        self._final_sent = False
        """Whether the run's final report is sent; later seconds go into no summary and no table."""

    # Messages of the coordinator.

    def listeners(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        """Return message name → handler; a handler gets the message's data."""
        return {
            ipc.RATE: lambda data: self._with_bot_process(
                lambda bot_process: bot_process.set_rate(data["factor"])
            ),
            ipc.CUT: lambda data: self._with_bot_process(
                lambda bot_process: bot_process.cut_connections(data["share"], data["spread"])
            ),
            ipc.STOP_SENDING: lambda _: self._with_bot_process(self._stop_sending),
            ipc.CATCH_UP: lambda data: self._with_bot_process(
                lambda bot_process: self._catch_up(bot_process, data["heads"])
            ),
            SLOT_GRANT_MESSAGE: lambda data: self._with_bot_process(
                lambda bot_process: bot_process.slots.on_grant(data)
            ),
        }

    def _with_bot_process(self, act: Callable[[BotProcess], object]) -> None:
        if self.bot_process is not None:
            act(self.bot_process)

    def _stop_sending(self, bot_process: BotProcess) -> None:
        bot_process.stop_sending()
        gevent.spawn(
            self._call_when_done,
            bot_process,
            lambda: not bot_process.count_unacknowledged(),
            self._send_heads,
        )

    def _catch_up(self, bot_process: BotProcess, heads: dict[str, int]) -> None:
        gevent.spawn(
            self._call_when_done,
            bot_process,
            lambda: not bot_process.count_behind(heads),
            self._send_final_report,
        )

    def _call_when_done(
        self, bot_process: BotProcess, done: Callable[[], bool], then: Callable[[BotProcess], None]
    ) -> None:
        """Call `then` once `done()` is true, or after the drain's time; not if the run has been replaced."""
        end = time.monotonic() + bot_process.plan.drain
        while bot_process is self.bot_process and not done() and time.monotonic() < end:
            gevent.sleep(_DRAIN_POLL_S)
        if bot_process is self.bot_process:
            then(bot_process)

    def _send_heads(self, bot_process: BotProcess) -> None:
        report = {
            "run": bot_process.run_id,
            "process": bot_process.process_number,
            "heads": bot_process.heads(),
        }
        self._send(ipc.HEADS, report)

    def _send_final_report(self, bot_process: BotProcess) -> None:
        bot_process.report_second()
        self._final_sent = True
        final = bot_process.final_report()
        final.update(
            run=bot_process.run_id,
            process=bot_process.process_number,
            rss_before=self._rss_before,
            pid=os.getpid(),
        )
        self._send(ipc.FINAL, final)

    # Start and end of a run.

    def start_run(self, plan: RunPlan, run_description: dict[str, Any], worker_id: str) -> None:
        """Prepare for the bots of a run, as the worker `worker_id` of `ipc.RUN_DESCRIPTION`.

        Raises `OSError` if the server's name cannot be resolved.
        """
        self.stop_run()
        processes = run_description["processes"]
        raise_descriptor_limit()
        bot_process = BotProcess(
            plan,
            run_description["run"],
            resolve_server(plan.host, plan.port),
            process_number=processes[worker_id],
            processes=len(processes),
            send_slot_request=lambda ask: self._send(SLOT_REQUEST_MESSAGE, dict(ask)),
            sink=self._report_second,
        )
        self._run_name = bot_process.run_id
        bot_process.set_rate(run_description["factor"])
        self._rss_before = _rss_bytes()
        self._final_sent = False
        self._reported_errors.clear()
        self.bot_process = bot_process
        self._watcher = gevent.get_hub().loop.io(bot_process.loop.fileno(), _EV_READ)
        self._watcher.start(bot_process.loop.run_once)
        reduce_gc_pauses()

    def start_bot(self, bot: Bot) -> None:
        """Start a bot, together with others that come within `_START_BATCH_S`, in random order.

        Locust starts a second's worth of users class by class. Slots are given in the order of requests, so
        without shuffling each class would have its own rooms, and readers would sit in silent ones.
        """
        assert self.bot_process is not None
        self._starting.append(bot)
        if len(self._starting) == 1:
            self.bot_process.loop.call_later(_START_BATCH_S, self._begin_bots)

    def _begin_bots(self) -> None:
        starting, self._starting = self._starting, []
        if self.bot_process is None or self.bot_process.sending_stopped:
            return  # a bot that starts during the drain would never get a session
        self.bot_process.random.shuffle(starting)
        for bot in starting:
            bot.start()

    def end_bot(self, bot: Bot) -> None:
        """Stop a bot, whether it has begun or not."""
        if bot in self._starting:
            self._starting.remove(bot)
        else:
            bot.shut_down()

    def stop_run(self) -> None:
        """Stop all bots and release the run's descriptors. Does nothing if there is no run."""
        self._starting = []
        if self.bot_process is None:
            return
        self._watcher.stop()
        self._watcher.close()
        self.bot_process.close()
        self.bot_process = None

    def _report_second(self, report: ProcessSecond, histograms: dict[str, Histogram]) -> None:
        if self._final_sent:
            return
        self._feed_locust_stats(report, histograms)
        if self._local:
            message = {"run": self._run_name, "interval": report, "histograms": histograms}
            self._send(ipc.SECOND, message)
        else:
            report.histograms = {name: histogram.pack() for name, histogram in histograms.items()}
            plain = msgspec.to_builtins(report, builtin_types=(bytes,))
            self._send(ipc.SECOND, {"run": self._run_name, "interval": plain})

    def _feed_locust_stats(self, report: ProcessSecond, histograms: dict[str, Histogram]) -> None:
        for name, histogram in histograms.items():
            samples = [(value / 1000, count) for value, count in histogram.buckets()]
            size = report.counts.get("received_bytes", 0) if name == "delivery" else 0
            self._locust_stats.add_samples(METRIC_BY_NAME[name], samples, size)
        for fault, count in report.faults.items():
            self._locust_stats.add_failures(fault, f"audit: {fault}", count)
        assert self.bot_process is not None
        errors = self.bot_process.errors
        for what, count in errors.items():
            if count > self._reported_errors[what]:
                self._locust_stats.add_failures(what, what, count - self._reported_errors[what], "error")
        self._reported_errors.update(
            {what: count - self._reported_errors[what] for what, count in errors.items()}
        )


def _rss_bytes() -> int:
    """Return this process's current resident memory, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  one read of a pseudo file
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
