"""Coordinates a run over all bot processes: start, phases, samples of the server, drain.

Runs in the master, or in the only process of a local run. Reaches the workers by the messages of ipc.py only;
Locust's events are handled in locust_plugin/plugin.py. Implements the `RunControl` port of load shapes
(shapes/run_control.py). `drain` blocks the calling greenlet.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

import gevent
import msgspec
from gevent.event import Event as Flag

from chat_swarm.bots.slots import SLOT_GRANT_MESSAGE, SLOT_REQUEST_MESSAGE, SlotAllocator
from chat_swarm.model.bottleneck import is_step_generator_bound
from chat_swarm.model.plan import RunPlan
from chat_swarm.model.schema import CapacityResult, Objective, ProcessSecond, Step, TimelineRow
from chat_swarm.results.metric_refs import Measurements
from chat_swarm.results.slo import evaluate
from chat_swarm.runner import ipc
from chat_swarm.runner.collector import Collector
from chat_swarm.runner.machine_load import OtherLoadSampler
from chat_swarm.runner.server_log import ServerLog
from chat_swarm.runner.server_probe import ProbeError, ServerProbe, find_server
from chat_swarm.shapes.run_control import Window

log = logging.getLogger(__name__)

_ANSWER_GRACE_S: Final = 3.0  # for a process to answer, on top of the drain's own time
_RAMP_UP_WAIT_S: Final = 10.0
"""After the last bot was started; then the run counts as steady even if bots are not connected."""
_NO_CONNECTION_WARNING_S: Final = 3
"""Seconds without a single connection after which a warning is logged."""
_CONNECTED_SHARE: Final = 0.98
"""Share of the started bots that must be connected for the run to be steady."""


class SendToWorkers(Protocol):
    """Sends a message to the workers."""

    def __call__(self, name: str, data: dict[str, Any], client: str | None = None) -> None:
        """Send `data` to the worker `client`, or to all of them."""


class Coordinator:
    """Coordinates one run after another, each from `begin_run` to the end of `drain` (or `abandon`)."""

    def __init__(self, send: SendToWorkers) -> None:
        self._send = send
        self.collector: Collector | None = None
        self.plan = RunPlan()
        self.run = ""
        self.running = False
        self.probe: ServerProbe | None = None
        self.server_log: ServerLog | None = None
        self.rss_before = 0
        self.steps: list[Step] = []
        self.limit: CapacityResult | None = None
        self.finals: dict[int, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._slot_allocator = SlotAllocator()
        self._process_numbers: dict[str, int] = {}
        self._heads: dict[int, dict[str, int]] = {}
        self._answered = Flag()
        self._spawned_at: float | None = None
        self._sampler: gevent.Greenlet | None = None
        self._rate_factor = 1.0
        self._late_workers: set[int] = set()  # processes that connected during the run
        self._draining = False
        self._drain_skipped = False
        self._warned = False

    def listeners(self) -> dict[str, Callable[[dict[str, Any], str], None]]:
        """Return message name → handler; a handler gets the message's data and the worker's id."""
        return {
            ipc.SECOND: lambda data, _: self._on_second(data),
            ipc.HEADS: lambda data, _: self._store_answer(self._heads, data, data["heads"]),
            ipc.FINAL: lambda data, _: self._store_answer(self.finals, data, data),
            SLOT_REQUEST_MESSAGE: self._assign_slot,
        }

    # Start and end of a run.

    def begin_run(self, plan: RunPlan, run: str, workers: list[str], missing: Collection[str] = ()) -> None:
        """Begin a run on these workers (ids); the `missing` ones of them may never get bots."""
        self.abandon()
        self.plan, self.run = plan, run
        self._slot_allocator = SlotAllocator()
        self._process_numbers = {client: number for number, client in enumerate(workers)}
        self._heads, self.finals, self.notes = {}, {}, []
        self.steps, self.limit = [], None
        self._spawned_at, self._rate_factor = None, 1.0
        self._late_workers = {self._process_numbers[client] for client in missing}
        self._draining = self._drain_skipped = self._warned = False
        self.collector = Collector(time.time(), max(1, len(workers) - len(self._late_workers)))
        self.running = True
        self.server_log = None if plan.server_log is None else ServerLog(plan.server_log)
        self._find_server()
        self._sampler = gevent.spawn(self._sample_loop)

    def add_worker(self, client: str) -> None:
        """Add a worker that connected during the run; Locust decides whether it gets users."""
        if self.running and not self._draining and client not in self._process_numbers:
            self._late_workers.add(len(self._process_numbers))
            self._process_numbers[client] = len(self._process_numbers)

    def run_description(self) -> dict[str, Any]:
        """Return what a worker must have before its first user; see `ipc.RUN_DESCRIPTION`."""
        return {"run": self.run, "factor": self._rate_factor, "processes": dict(self._process_numbers)}

    def mark_spawned(self) -> None:
        """Record that Locust has started all bots."""
        self._spawned_at = time.time()

    def abandon(self) -> None:
        """Stop coordinating a run that could not be started."""
        self.running = False
        if self._sampler is not None:
            self._sampler.kill()
            self._sampler = None

    def drain(self) -> None:
        """Stop all senders; wait until each message is acknowledged, then until it is delivered everywhere.

        Each of the two waits ends after `plan.drain` plus `_ANSWER_GRACE_S` at the latest.
        """
        assert self.collector is not None
        self.collector.mark_drain(time.time())
        self._draining = True
        try:
            self._await_drain()
        finally:  # also after KeyboardInterrupt
            self.running = False
            if self._sampler is not None:
                self._sampler.kill()
            self.collector.finish()

    def skip_drain(self) -> None:
        """End a running drain at once, and note that the run's end was interrupted."""
        if self.running and not self._drain_skipped:
            self._drain_skipped = True
            self.notes.append("the end of the run was interrupted before all messages were received")
            self._answered.set()

    def _await_drain(self) -> None:
        timeout_s = self.plan.drain + _ANSWER_GRACE_S
        self._request_all(ipc.STOP_SENDING, {}, self._heads, timeout_s)
        heads: dict[str, int] = {}
        for some in self._heads.values():
            for room, seq in some.items():
                heads[room] = max(seq, heads.get(room, 0))
        self._request_all(ipc.CATCH_UP, {"heads": heads}, self.finals, timeout_s)
        for number in sorted(self._expected_processes() - set(self.finals)):
            self.notes.append(f"bot process {number} did not report at the end")

    def _request_all(
        self, name: str, data: dict[str, Any], answers: Mapping[int, object], timeout_s: float
    ) -> None:
        """Send a message to all workers; wait for all `answers`, but at most `timeout_s`."""
        end = time.monotonic() + timeout_s
        self._send(name, data)
        players = self._expected_processes()
        while not players <= answers.keys() and time.monotonic() < end and not self._drain_skipped:
            self._answered.clear()
            self._answered.wait(min(0.5, max(0.0, end - time.monotonic())))

    def _expected_processes(self) -> set[int]:
        """Return the processes that must answer: all but late ones that have not reported (no users)."""
        assert self.collector is not None
        return set(self._process_numbers.values()) - (self._late_workers - self.collector.reporting_processes)

    def _store_answer(self, answers: dict[int, Any], data: dict[str, Any], answer: object) -> None:
        if data["run"] == self.run:  # else it is a late answer from the previous run
            answers[data["process"]] = answer
            self._answered.set()

    def _on_second(self, data: dict[str, Any]) -> None:
        if self.collector is None or not self.running or data["run"] != self.run:
            return  # the run is over; its bots are still being stopped
        if "histograms" in data:
            self.collector.add_report(data["interval"], data["histograms"])
        else:
            self.collector.add_packed_report(
                msgspec.convert(data["interval"], ProcessSecond, builtin_types=(bytes,))
            )

    def _assign_slot(self, data: Any, client: str) -> None:
        answer = self._slot_allocator.allocate(data)
        if answer is not None:
            self._send(SLOT_GRANT_MESSAGE, dict(answer), client)

    # Samples of the server, and phases.

    def _find_server(self) -> None:
        self.probe, self.rss_before = None, 0
        pid = self.plan.server_pid or find_server(self.plan.host, self.plan.port)
        if not pid:
            return
        try:
            self.probe = ServerProbe(pid)
        except ProbeError as error:
            log.warning("%s", error)
            return
        sample = self.probe.sample()
        self.rss_before = sample.rss_bytes if sample is not None else 0

    def _sample_loop(self) -> None:
        """Sample the server and the machine once a second, just after the second's end."""
        load = OtherLoadSampler()
        while True:
            now = time.time()
            gevent.sleep(1.0 - now % 1.0 + 0.005)
            self._update_phase()
            server = self.probe.sample() if self.probe is not None else None
            if self.collector is not None:
                others = load.sample(server.cpu if server is not None else 0.0)
                self.collector.add_samples(int(time.time()) - 1, server, others)

    def _update_phase(self) -> None:
        rows = self.collector.rows if self.collector is not None else []
        if (
            len(rows) == _NO_CONNECTION_WARNING_S
            and not any(row.connected for row in rows)
            and not self._warned
        ):
            self._warned = True
            log.warning("No bot is connected: is there a server at %s:%d?", self.plan.host, self.plan.port)
        if self._spawned_at is None or self.collector is None or not self.collector.rows:
            return
        last = self.collector.rows[-1]
        if last.unix < int(self._spawned_at):
            return
        late = time.time() > self._spawned_at + _RAMP_UP_WAIT_S
        # With churn, bots are never all connected at once: steady is when their number stops rising.
        before = self.collector.rows[-3].connected if len(self.collector.rows) > 2 else 0
        level = last.unix > self._spawned_at + 1 and last.connected <= before
        if late or level or last.connected >= last.bots * _CONNECTED_SHARE:
            self.collector.mark_steady(self._spawned_at)

    # The port of load shapes (shapes/run_control.py).

    def elapsed(self) -> float:
        """Return the seconds since the run began; 0.0 between runs."""
        return time.time() - self.collector.began_unix if self.running and self.collector is not None else 0.0

    def set_rate(self, factor: float) -> None:
        """Have all bots send at `factor` times the planned rate from now on."""
        if factor != self._rate_factor:
            self._rate_factor = factor
            self._send(ipc.RATE, {"factor": factor})

    def cut_connections(self, share: float, spread_seconds: float) -> None:
        """Cut a share of all connections, spread over `spread_seconds`."""
        self._send(ipc.CUT, {"share": share, "spread": spread_seconds})

    def set_label(self, text: str) -> None:
        """Set the load shape's step name for rows from now on."""
        if self.collector is not None:
            self.collector.add_label(time.time(), text)

    def window(self, since_t: int, until_t: int) -> Window | None:
        """Return the figures of since_t <= t < until_t (seconds since the run began).

        None while a process has not reported them all.
        """
        if self.collector is None:
            return None
        since, until = self.collector.began_unix + since_t, self.collector.began_unix + until_t
        if self.running and self.collector.last_row_unix() < until - 1:
            return None
        rows = [row for row in self.collector.rows if since <= row.unix < until]
        tally = self.collector.tally_between(since, until)
        return Window(
            figures=tally.to_scope(),
            objective=self._evaluate_slo(rows, tally.histograms, tally.to_scope()),
            generator_bound=is_step_generator_bound(sum(bool(row.marked) for row in rows), len(rows)),
        )

    def _evaluate_slo(
        self, rows: list[TimelineRow], histograms: dict[str, Any], scope: Any
    ) -> Objective | None:
        if not self.plan.slo:
            return None
        faults: dict[str, int] = {}
        for row in rows:
            for name, count in row.faults.items():
                faults[name] = faults.get(name, 0) + count
        connected = max((row.connected for row in rows), default=0)
        of = Measurements(scope=scope, histograms=histograms, faults=faults, connected=connected)
        return evaluate(self.plan.slo, of, "step")
