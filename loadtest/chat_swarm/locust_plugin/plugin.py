"""The swarm as a Locust plugin: maps Locust's events to the start, course and end of a run.

Locust has three kinds of processes: master, worker, and the only process of a run without workers. The
coordinator lives in the first and the last, a `LocustWorker` in the last two. They communicate by messages
only, even within one process, so all three cases run the same code.
"""

import contextlib
import logging
import secrets
import sys
from argparse import Namespace
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import gevent
from gevent.event import Event as Flag
from locust.env import Environment
from locust.runners import STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, MasterRunner, Runner, WorkerRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

from chat_cli.streams import output_problem
from chat_swarm.bots.bot_process import raise_descriptor_limit
from chat_swarm.locust_plugin import load_shape, options, signals, web
from chat_swarm.locust_plugin.live_source import CoordinatorSource
from chat_swarm.locust_plugin.stats_feed import StatsFeed
from chat_swarm.locust_plugin.users import SwarmUser
from chat_swarm.model.plan import RunPlan
from chat_swarm.report.terminal_summary import format_summary
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.run_directory import RunDirectory, RunDirectoryError
from chat_swarm.runner import ipc
from chat_swarm.runner.coordinator import Coordinator
from chat_swarm.runner.locust_worker import LocustWorker
from chat_swarm.runner.summary import summarize_run

log = logging.getLogger(__name__)

_SPARE_DESCRIPTORS: Final = 200
_EXIT_OUTPUT: Final = 2
_CSV_WRITE_S: Final = 0.1  # for Locust to write its CSV files
_RUN_NAME_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


class SwarmPlugin:
    """The swarm in one Locust process: listens to Locust's events, owns coordinator and worker."""

    def __init__(self, environment: Environment, runner: Runner) -> None:
        self.environment = environment
        self.runner = runner
        self.coordinator: Coordinator | None = None
        self.worker: LocustWorker | None = None
        self.directory: RunDirectory | None = None
        self.live_source: CoordinatorSource | None = None
        self.shapes: load_shape.ShapeChooser | None = None
        self._peak_bots: Counter[str] = Counter()
        self._started = ""
        self._closing_text = ""
        self._ending = False
        self._ended = Flag()
        self._run_name = ""
        self._run_count = 0
        if not isinstance(runner, WorkerRunner):
            self.coordinator = Coordinator(self._send_to_workers)
            self.live_source = CoordinatorSource(self.coordinator)
            for name, listener in self.coordinator.listeners().items():
                runner.register_message(name, _worker_listener(listener))
        if not isinstance(runner, MasterRunner):
            self.worker = LocustWorker(
                self._send_to_master, StatsFeed(runner.stats), local=self.coordinator is not None
            )
            SwarmUser.worker = self.worker
            for name, heard in self.worker.listeners().items():
                runner.register_message(name, _coordinator_listener(heard))

    def add_listeners(self) -> None:
        """Add the listeners to Locust's events."""
        events = self.environment.events
        for event, listener in (
            (events.test_start, self.on_test_start),
            (events.spawning_complete, self.on_spawning_complete),
            (events.test_stopping, self.on_test_stopping),
            (events.test_stop, self.on_test_stop),
            (events.worker_connect, self.on_worker_connect),
            (events.quitting, self.on_quitting),
            (events.quit, self.on_quit),
        ):
            event.add_listener(listener)  # type: ignore[no-untyped-call]

    # Messages.

    def _send_to_workers(self, name: str, data: dict[str, Any], client: str | None = None) -> None:
        self.runner.send_message(name, data, client)

    def _send_to_master(self, name: str, data: dict[str, Any]) -> None:
        self.runner.send_message(name, data)

    # Locust's events.

    def on_test_start(self, **_: object) -> None:
        """Begin a run: the coordinator first, since a worker in the same process needs its description."""
        options_now = self.environment.parsed_options or Namespace()
        plan = options.build_plan(options_now, self.environment.host)
        try:
            if self.coordinator is not None:
                self._begin_run(self.coordinator, plan)
                self._publish_run_description(self.coordinator)
            if self.worker is not None:
                self.worker.start_run(plan, *self._own_run_description())
        except (RunDirectoryError, OSError) as error:
            log.error("%s", error)
            self._abort()

    def on_spawning_complete(self, **_: object) -> None:
        """Record that all bots were started."""
        if self.coordinator is not None:
            self._count_bots()  # there may be fewer at the end: the page and shapes can stop some
            self.coordinator.mark_spawned()

    def on_worker_connect(self, client_id: str, **_: object) -> None:
        """Add a worker that connected during a run."""
        if self.coordinator is not None:
            self.coordinator.add_worker(client_id)
            self._publish_run_description(self.coordinator)

    def on_test_stopping(self, **_: object) -> None:
        """Drain the run, while all bots still run, and judge it."""
        if self.coordinator is None:
            return
        if self._ending:
            # Ctrl-C while another greenlet of Locust is already ending the run: that one writes the results.
            self.coordinator.skip_drain()
            self._ended.wait()
            return
        if not self.coordinator.running:
            return
        self._ending = True
        self._ended.clear()
        try:
            self._end_run(self.coordinator)
        finally:
            self._ending = False
            self._ended.set()

    def _end_run(self, coordinator: Coordinator) -> None:
        self._count_bots()
        drain = coordinator.plan.drain
        log.info(
            "Sending has stopped; waiting for acknowledgements, then deliveries (at most %g s each).", drain
        )
        try:
            coordinator.drain()
        except KeyboardInterrupt:
            coordinator.notes.append("the end of the run was interrupted before all messages were received")
        # Locust only logs exceptions of its listeners; if one is raised below, this exit code remains.
        before, self.environment.process_exit_code = self.environment.process_exit_code, 2
        if self.shapes is not None:
            self.shapes.finish()
        code = self._write_results(coordinator)
        self.environment.process_exit_code = max(before or 0, code)

    def skip_drain(self) -> None:
        """End the drain at once, if the run is ending."""
        if self.coordinator is not None and self._ending:
            self.coordinator.skip_drain()

    def on_test_stop(self, **_: object) -> None:
        """Release the run's descriptors; Locust has stopped the bots."""
        if self.worker is not None:
            self.worker.stop_run()

    # A run.

    def prepare(self, plan: RunPlan) -> None:
        """Create the first run's directory in advance. Raises `RunDirectoryError` if it is not writable."""
        self._name_run()
        self.directory = RunDirectory.create(plan.report, self._run_name)

    def _name_run(self) -> None:
        self._run_name = "".join(secrets.choice(_RUN_NAME_LETTERS) for _ in range(5))

    def _begin_run(self, coordinator: Coordinator, plan: RunPlan) -> None:
        if self.directory is None:
            self._name_run()
            report = plan.report
            if report is not None and self._run_count:
                report = report.with_name(f"{report.name}-{self._run_count + 1}")
            self.directory = RunDirectory.create(report, self._run_name)
        self._run_count += 1
        self._peak_bots.clear()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        workers, missing = [ipc.LOCAL_ID], []
        if isinstance(self.runner, MasterRunner):
            # Locust lists a worker that has died for another minute, as it may come back.
            workers = [one.id for one in self.runner.clients.all]
            missing = [one.id for one in self.runner.clients.all if one.state == STATE_MISSING]
        if self.live_source is not None:
            self.live_source.run_directory = self.directory.path
        coordinator.begin_run(plan, self._run_name, workers, missing)

    def _publish_run_description(self, coordinator: Coordinator) -> None:
        """Put the run's description among the parsed options, which Locust sends with its spawn messages."""
        if self.environment.parsed_options is not None:
            setattr(self.environment.parsed_options, ipc.RUN_DESCRIPTION, coordinator.run_description())

    def _own_run_description(self) -> tuple[dict[str, Any], str]:
        """Return the run's description and this process's worker id."""
        if self.coordinator is not None:
            return self.coordinator.run_description(), ipc.LOCAL_ID
        assert isinstance(self.runner, WorkerRunner)
        run_description = getattr(self.environment.parsed_options, ipc.RUN_DESCRIPTION, None)
        if run_description is None or self.runner.client_id not in run_description["processes"]:
            raise RuntimeError("the master sent no description of the run: is it of another version?")
        return run_description, self.runner.client_id

    def _count_bots(self) -> None:
        counts = (
            self.runner.reported_user_classes_count
            if isinstance(self.runner, MasterRunner)
            else self.runner.user_classes_count
        )
        for name, count in counts.items():
            self._peak_bots[name] = max(self._peak_bots[name], count)

    def _write_results(self, coordinator: Coordinator) -> int:
        """Summarise the run, write its files, print the result; return the exit code."""
        assert coordinator.collector is not None
        assert self.directory is not None
        plan = coordinator.plan
        probe = coordinator.probe
        run = summarize_run(
            run=coordinator.run,
            started=self._started,
            target=f"{plan.host}:{plan.port}",
            command=sys.argv,
            options=_shown_options(self.environment.parsed_options),
            bots={name: count for name, count in self._peak_bots.items() if count},
            collector=coordinator.collector,
            finals=coordinator.finals,
            notes=coordinator.notes,
            server=(probe.pid, probe.command, coordinator.rss_before) if probe is not None else None,
            server_log=coordinator.server_log,
            slo=plan.slo,
            leave_out_marked=plan.leave_out_marked,
            shape="" if plan.shape.kind == "none" else plan.shape.kind,
            steps=coordinator.steps,
            limit=coordinator.limit,
        )
        problems = self.directory.write(run, _render)
        self._print_result(format_summary(run, self.directory.path, problems))
        if self.live_source is not None:
            self.live_source.add_finished(self.directory.path)
        self.directory = None
        # Locust's own code is 1 after any failure; here only the audit and the SLO decide.
        return max(run.summary.exit_code, int(bool(problems)))

    def _print_result(self, text: str) -> None:
        """Print the run's result; with `--headless` after Locust's own tables, in `on_quit`."""
        if self.environment.parsed_options is not None and self.environment.parsed_options.headless:
            self._closing_text = text
        elif problem := output_problem(f"{text}\n"):
            log.error("The result could not be written to standard output: %s", problem)

    def on_quitting(self, **_: object) -> None:
        """Let Locust finish its CSV files, which is only possible now; signals.py has ended the run."""
        self._let_locust_write(emptied=True)

    def _let_locust_write(self, *, emptied: bool) -> None:
        """Wait until Locust has written its CSV files once more.

        It writes them once a second, but not at the end, so the last second would be missing. Its JSON output
        empties the statistics, so with that the wait must come before (`emptied`).
        """
        given = self.environment.parsed_options
        if self.coordinator is None or given is None or not given.csv_prefix:
            return
        if bool(given.json or given.json_file) == emptied:
            gevent.sleep(CSV_STATS_INTERVAL_SEC + _CSV_WRITE_S)

    def on_quit(self, **_: object) -> None:
        """Print the result of a headless run, after everything else."""
        given = self.environment.parsed_options
        unwritten = False
        if self._closing_text:
            text, self._closing_text = f"{self._closing_text}\n", ""
            if given is not None and given.json:  # standard output is for programs
                with contextlib.suppress(OSError, AttributeError):  # it is full or closed: a courtesy only
                    sys.stderr.write(text)
                    sys.stderr.flush()
            elif problem := output_problem(text):
                log.error("The result could not be written to standard output: %s", problem)
                unwritten = True
        self._let_locust_write(emptied=False)
        if unwritten:
            sys.exit(_EXIT_OUTPUT)  # Locust has computed its own code already

    def _abort(self) -> None:
        self.environment.process_exit_code = 2
        if self.coordinator is not None:
            self.coordinator.abandon()
        headless = self.environment.parsed_options is None or self.environment.parsed_options.headless
        # Not in this greenlet: Locust kills it to stop starting users.
        gevent.spawn(self.runner.quit if headless else self.runner.stop)


def _max_bots(given: Namespace) -> int:
    """Return how many bots all processes can hold: one descriptor each, and some spare for Locust."""
    processes = max(1, getattr(given, "processes", None) or getattr(given, "expect_workers", None) or 1)
    return processes * (raise_descriptor_limit() - _SPARE_DESCRIPTORS)


def _render(run: FinishedRun) -> str:
    from chat_swarm.report.html import render  # noqa: PLC0415  plotly takes a second to import: not while bots run

    return render(run)


def round_response_time(milliseconds: float) -> float:
    """Return a latency with two significant digits, for Locust's tables.

    Locust's own rounding is to whole milliseconds, and many latencies here are below one.
    """
    return float(f"{milliseconds:.2g}")


def _shown_options(given: Namespace | None) -> dict[str, Any]:
    """Return the swarm's options and those of Locust that affect a run, as given."""
    names = [*(one.dest for one in options.OPTIONS), "num_users", "spawn_rate", "run_time", "processes"]
    return {name: getattr(given, name) for name in names if hasattr(given, name)}


def _worker_listener(listener: Any) -> Any:
    return lambda environment, msg: listener(msg.data, msg.node_id)  # noqa: ARG005  Locust names them


def _coordinator_listener(listener: Any) -> Any:
    return lambda environment, msg: listener(msg.data)  # noqa: ARG005  Locust names them


def on_init(environment: Environment, runner: Runner, **_: object) -> None:
    """Install the swarm in a Locust process, in Locust's `init` event."""
    plugin = SwarmPlugin(environment, runner)
    plugin.add_listeners()
    if isinstance(runner, WorkerRunner) and runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
        plugin.on_test_start()  # the order to join a running run came before this event
    SwarmUser.ready.set()
    signals.install(environment, runner, plugin.skip_drain)
    options_now = environment.parsed_options
    if plugin.coordinator is None or options_now is None:
        return
    assert plugin.live_source is not None
    web.install(environment, plugin.live_source)
    plugin.shapes = load_shape.install(
        environment, plugin.coordinator, lambda: options.build_shape_plan(options_now), _max_bots(options_now)
    )
    if options_now.headless:
        plan = options.build_plan(options_now, environment.host)
        try:
            plugin.prepare(plan)
        except RunDirectoryError as refused:
            sys.stderr.write(f"locust: error: {refused}\n")
            sys.exit(2)
