"""The swarm in Locust: which of Locust's events begin, follow and end a run.

Knows Locust's events, runners and messages. Must not know bots, nor how figures come about.

Locust has three kinds of processes: the master, its workers, and the only one of a run without workers.
The control lives in the first and the last, a station of bots in the last two, and they speak by messages
only, so there is one way of doing things, not three.
"""

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
_CSV_WRITE_S: Final = 0.1  # seconds that Locust may take to write its CSV files
_RUN_NAME_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


class SwarmPlugin:
    """The swarm's part in one Locust process."""

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
        """Have Locust call."""
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
        """Begin: the control first, since a station of the same process is told by it."""
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
        """Take note that the ramp is over."""
        if self.coordinator is not None:
            self._count_bots()  # there may be fewer at the end: the page and shapes can take some away
            self.coordinator.mark_spawned()

    def on_worker_connect(self, client_id: str, **_: object) -> None:
        """Take in a worker that came late."""
        if self.coordinator is not None:
            self.coordinator.add_worker(client_id)
            self._publish_run_description(self.coordinator)

    def on_test_stopping(self, **_: object) -> None:
        """Bring the run to a quiet end, while all bots are still there, and judge it."""
        if self.coordinator is None:
            return
        if self._ending:
            # Ctrl-C while another greenlet of Locust's has begun to end the run: that one writes it down.
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
            "Sending has stopped; acknowledgements are awaited, then deliveries (%g s each at most).", drain
        )
        try:
            coordinator.drain()
        except KeyboardInterrupt:
            coordinator.notes.append("the end of the run was interrupted, before all was received")
        # Locust logs what a listener of its events raises, and goes on: then this stands.
        before, self.environment.process_exit_code = self.environment.process_exit_code, 2
        if self.shapes is not None:
            self.shapes.finish()
        code = self._write_results(coordinator)
        self.environment.process_exit_code = max(before or 0, code)

    def skip_drain(self) -> None:
        """Wait no longer for what is under way, if the run is ending."""
        if self.coordinator is not None and self._ending:
            self.coordinator.skip_drain()

    def on_test_stop(self, **_: object) -> None:
        """Give back what the run had; Locust has ended the bots."""
        if self.worker is not None:
            self.worker.stop_run()

    # A run.

    def prepare(self, plan: RunPlan) -> None:
        """Find out before the first run whether its files can be written; RunDirectoryError if not."""
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
            # It keeps one that has died for a minute: it may come back.
            workers = [one.id for one in self.runner.clients.all]
            missing = [one.id for one in self.runner.clients.all if one.state == STATE_MISSING]
        if self.live_source is not None:
            self.live_source.run_directory = self.directory.path
        coordinator.begin_run(plan, self._run_name, workers, missing)

    def _publish_run_description(self, coordinator: Coordinator) -> None:
        """Put what the stations must know among the options: Locust sends these with its orders."""
        if self.environment.parsed_options is not None:
            setattr(self.environment.parsed_options, ipc.RUN_DESCRIPTION, coordinator.run_description())

    def _own_run_description(self) -> tuple[dict[str, Any], str]:
        """Return what this process must know, and who it is."""
        if self.coordinator is not None:
            return self.coordinator.run_description(), ipc.LOCAL_ID
        assert isinstance(self.runner, WorkerRunner)
        run_description = getattr(self.environment.parsed_options, ipc.RUN_DESCRIPTION, None)
        if run_description is None or self.runner.client_id not in run_description["processes"]:
            raise RuntimeError("this process was not told of the run: is the master of another version?")
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
        """Judge the run, write it down, say it; return the exit code that it deserves."""
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
        # Locust's own code is 1 after any error; what errors mean here, the audit and the SLO say.
        return max(run.summary.exit_code, int(bool(problems)))

    def _print_result(self, text: str) -> None:
        """Print the run's result: after Locust's own tables, if it is about to print them and end."""
        if self.environment.parsed_options is not None and self.environment.parsed_options.headless:
            self._closing_text = text
        else:
            print(text)  # noqa: T201  this command's output

    def on_quitting(self, **_: object) -> None:
        """Let Locust finish its files, which is possible only now; signals.py has ended the run."""
        self._let_locust_write(emptied=True)

    def _let_locust_write(self, *, emptied: bool) -> None:
        """Wait until Locust has written its CSV files once more.

        It does so once a second, and not at its end: the last second would be in its tables, and not in its
        files. Its JSON empties the tables, so with that the moment is before all workers' last words.
        """
        given = self.environment.parsed_options
        if self.coordinator is None or given is None or not given.csv_prefix:
            return
        if bool(given.json or given.json_file) == emptied:
            gevent.sleep(CSV_STATS_INTERVAL_SEC + _CSV_WRITE_S)

    def on_quit(self, **_: object) -> None:
        """Say at the very end what a run without a page has come to."""
        given = self.environment.parsed_options
        if self._closing_text:
            # With --json Locust's standard output is for programs.
            out = sys.stderr if given is not None and given.json else sys.stdout
            print(self._closing_text, file=out, flush=True)
            self._closing_text = ""
        self._let_locust_write(emptied=False)

    def _abort(self) -> None:
        self.environment.process_exit_code = 2
        if self.coordinator is not None:
            self.coordinator.abandon()
        headless = self.environment.parsed_options is None or self.environment.parsed_options.headless
        # Not in this greenlet, which Locust kills to stop its starting of users.
        gevent.spawn(self.runner.quit if headless else self.runner.stop)


def _max_bots(given: Namespace) -> int:
    """Return how many bots all processes can hold: each needs a descriptor, and Locust some for itself."""
    processes = max(1, getattr(given, "processes", None) or getattr(given, "expect_workers", None) or 1)
    return processes * (raise_descriptor_limit() - _SPARE_DESCRIPTORS)


def _render(run: FinishedRun) -> str:
    from chat_swarm.report.html import render  # noqa: PLC0415  plotly takes a second to load: not while bots run

    return render(run)


def round_response_time(milliseconds: float) -> float:
    """Return a latency to two significant digits, for Locust's tables.

    Locust's own rounding knows whole milliseconds only, which a server of this kind stays below.
    """
    return float(f"{milliseconds:.2g}")


def _shown_options(given: Namespace | None) -> dict[str, Any]:
    """Return our options and Locust's own that shape a run, as they were given."""
    names = [*(one.dest for one in options.OPTIONS), "num_users", "spawn_rate", "run_time", "processes"]
    return {name: getattr(given, name) for name in names if hasattr(given, name)}


def _worker_listener(listener: Any) -> Any:
    return lambda environment, msg: listener(msg.data, msg.node_id)  # noqa: ARG005  Locust names them


def _coordinator_listener(listener: Any) -> Any:
    return lambda environment, msg: listener(msg.data)  # noqa: ARG005  Locust names them


def on_init(environment: Environment, runner: Runner, **_: object) -> None:
    """Put the swarm into a Locust process; for Locust's `init` event."""
    plugin = SwarmPlugin(environment, runner)
    plugin.add_listeners()
    if isinstance(runner, WorkerRunner) and runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
        plugin.on_test_start()  # the run was on already, and the order to join it was quicker than this
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
