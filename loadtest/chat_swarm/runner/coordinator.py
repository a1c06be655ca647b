"""The run as a whole: it begins, is followed, is brought to a quiet end, and judged.

Knows the messages and the collector. Must not know what Locust's events are called (locust_plugin/plugin.py
does). For the master, or for the only process. It is the `Conductor` of load shapes.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

import gevent
import msgspec
from gevent.event import Event as Flag

from chat_swarm.bots.slots import ANSWER, ASK, Usher
from chat_swarm.model.plan import Plan
from chat_swarm.model.schema import Interval, Limit, Objective, Row, Step
from chat_swarm.results.metric_refs import Measured
from chat_swarm.results.slo import evaluate
from chat_swarm.runner import ipc
from chat_swarm.runner.collector import Collector
from chat_swarm.runner.machine_load import Company
from chat_swarm.runner.server_probe import ProbeError, ServerProbe, find_server
from chat_swarm.shapes.run_control import Window

log = logging.getLogger(__name__)

_GRACE: Final = 3.0  # seconds beyond the drain's own that a process has to answer
_UP_PATIENCE: Final = 10.0
"""Seconds after the last bot was started in which all should be connected; then it is steady all the same."""
_ALONE: Final = 3
"""Seconds without a single connection after which somebody should be told."""
_UP_SHARE: Final = 0.98
_BOUND_SHARE: Final = 0.2
"""Share of marked seconds from which on some seconds say little about the server."""


class Send(Protocol):
    """How a message leaves."""

    def __call__(self, name: str, data: dict[str, Any], client: str | None = None) -> None:
        """Send `data` to one station, or to all."""


class Control:
    """One run after another, each from `begin` to `finish`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.collector: Collector | None = None
        self.plan = Plan()
        self.run = ""
        self.running = False
        self.probe: ServerProbe | None = None
        self.rss_before = 0
        self.steps: list[Step] = []
        self.limit: Limit | None = None
        self.finals: dict[int, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._usher = Usher()
        self._stations: dict[str, int] = {}
        self._heads: dict[int, dict[str, int]] = {}
        self._answered = Flag()
        self._spawned_at: float | None = None
        self._watch: gevent.Greenlet | None = None
        self._factor = 1.0
        self._late: set[int] = set()  # processes that came while the run was on
        self._halting = False
        self._hurried = False
        self._warned = False

    def listeners(self) -> dict[str, Callable[[dict[str, Any], str], None]]:
        """Return what is to be called for which message of a station, with its data and the station's id."""
        return {
            ipc.SECOND: lambda data, _: self._second(data),
            ipc.HEADS: lambda data, _: self._note(self._heads, data, data["heads"]),
            ipc.FINAL: lambda data, _: self._note(self.finals, data, data),
            ASK: self._seat,
        }

    # The life of a run.

    def begin(self, plan: Plan, run: str, stations: list[str], silent: Collection[str] = ()) -> None:
        """Begin a run with these processes of bots; those of them that are `silent` may never play."""
        self.abandon()
        self.plan, self.run = plan, run
        self._usher = Usher()
        self._stations = {client: number for number, client in enumerate(stations)}
        self._heads, self.finals, self.notes = {}, {}, []
        self.steps, self.limit = [], None
        self._spawned_at, self._factor = None, 1.0
        self._late = {self._stations[client] for client in silent}
        self._halting = self._hurried = self._warned = False
        self.collector = Collector(time.time(), max(1, len(stations) - len(self._late)))
        self.running = True
        self._find_server()
        self._watch = gevent.spawn(self._follow)

    def joined(self, client: str) -> None:
        """Take in a process that came while the run was on; what it is to do, Locust decides."""
        if self.running and not self._halting and client not in self._stations:
            self._late.add(len(self._stations))
            self._stations[client] = len(self._stations)

    def roll(self) -> dict[str, Any]:
        """Return what the stations are to be told before their first user: messages.ROLL."""
        return {"run": self.run, "factor": self._factor, "processes": dict(self._stations)}

    def spawned(self) -> None:
        """Take note that all bots were started."""
        self._spawned_at = time.time()

    def abandon(self) -> None:
        """Follow the run no longer: it has come to nothing."""
        self.running = False
        if self._watch is not None:
            self._watch.kill()
            self._watch = None

    def halt(self) -> None:
        """Have everybody say nothing more, and wait until all that was said has come to everybody."""
        assert self.collector is not None
        self.collector.stopping(time.time())
        self._halting = True
        try:
            self._drain()
        finally:  # also where somebody does not want to wait for it
            self.running = False
            if self._watch is not None:
                self._watch.kill()
            self.collector.finish()

    def hurry(self) -> None:
        """Wait no longer for what is under way: somebody wants the end now."""
        if self.running and not self._hurried:
            self._hurried = True
            self.notes.append("the end of the run was interrupted, before all was received")
            self._answered.set()

    def _drain(self) -> None:
        patience = self.plan.drain + _GRACE
        self._ask(ipc.HALT, {}, self._heads, patience)
        heads: dict[str, int] = {}
        for some in self._heads.values():
            for room, seq in some.items():
                heads[room] = max(seq, heads.get(room, 0))
        self._ask(ipc.CATCH_UP, {"heads": heads}, self.finals, patience)
        for number in sorted(self._players() - set(self.finals)):
            self.notes.append(f"bot process {number} did not report at the end")

    def _ask(self, name: str, data: dict[str, Any], answers: Mapping[int, object], patience: float) -> None:
        """Send to all stations, and wait until all have answered, or have had time enough."""
        end = time.monotonic() + patience
        self._send(name, data)
        players = self._players()
        while not players <= answers.keys() and time.monotonic() < end and not self._hurried:
            self._answered.clear()
            self._answered.wait(min(0.5, max(0.0, end - time.monotonic())))

    def _players(self) -> set[int]:
        """Return the processes that have bots: Locust may have nothing to do for one that came late."""
        assert self.collector is not None
        return set(self._stations.values()) - (self._late - self.collector.heard_of)

    def _note(self, answers: dict[int, Any], data: dict[str, Any], answer: object) -> None:
        if data["run"] == self.run:  # else a process was too slow for the end of the run before
            answers[data["process"]] = answer
            self._answered.set()

    def _second(self, data: dict[str, Any]) -> None:
        if self.collector is None or not self.running or data["run"] != self.run:
            return  # the run has been judged; the bots are still being ended
        if "histograms" in data:
            self.collector.add(data["interval"], data["histograms"])
        else:
            self.collector.add_packed(msgspec.convert(data["interval"], Interval, builtin_types=(bytes,)))

    def _seat(self, data: Any, client: str) -> None:
        answer = self._usher.answer(data)
        if answer is not None:
            self._send(ANSWER, dict(answer), client)

    # The server from outside, and the phases.

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

    def _follow(self) -> None:
        """Look at the server and the machine once a second, just after the second's end."""
        company = Company()
        while True:
            now = time.time()
            gevent.sleep(1.0 - now % 1.0 + 0.005)
            self._look_at_phase()
            server = self.probe.sample() if self.probe is not None else None
            if self.collector is not None:
                others = company.sample(server.cpu if server is not None else 0.0)
                self.collector.outside(int(time.time()) - 1, server, others)

    def _look_at_phase(self) -> None:
        rows = self.collector.rows if self.collector is not None else []
        if len(rows) == _ALONE and not any(row.connected for row in rows) and not self._warned:
            self._warned = True
            log.warning("No bot has got in yet: is there a server at %s:%d?", self.plan.host, self.plan.port)
        if self._spawned_at is None or self.collector is None or not self.collector.rows:
            return
        last = self.collector.rows[-1]
        if last.unix < int(self._spawned_at):
            return
        late = time.time() > self._spawned_at + _UP_PATIENCE
        # Bots that come and go are never all there at once: it is steady when no more of them come.
        before = self.collector.rows[-3].connected if len(self.collector.rows) > 2 else 0
        level = last.unix > self._spawned_at + 1 and last.connected <= before
        if late or level or last.connected >= last.bots * _UP_SHARE:
            self.collector.all_up(self._spawned_at)

    # What load shapes ask (shapes/run_control.py).

    def elapsed(self) -> float:
        """Return the seconds since the run began; 0.0 while none is on."""
        return time.time() - self.collector.began if self.running and self.collector is not None else 0.0

    def rate(self, factor: float) -> None:
        """Have all bots say `factor` times as much as planned, from now on."""
        if factor != self._factor:
            self._factor = factor
            self._send(ipc.RATE, {"factor": factor})

    def cut(self, share: float, spread_seconds: float) -> None:
        """Cut a share of all connections within so many seconds."""
        self._send(ipc.CUT, {"share": share, "spread": spread_seconds})

    def label(self, text: str) -> None:
        """Name what the load shape does from now on."""
        if self.collector is not None:
            self.collector.label(time.time(), text)

    def window(self, since_t: int, until_t: int) -> Window | None:
        """Return what some seconds yielded; None while they have not all been reported."""
        if self.collector is None:
            return None
        since, until = self.collector.began + since_t, self.collector.began + until_t
        if self.running and self.collector.reported_to() < until - 1:
            return None
        rows = [row for row in self.collector.rows if since <= row.unix < until]
        tally = self.collector.between(since, until)
        return Window(
            figures=tally.scope(),
            objective=self._objective(rows, tally.histograms, tally.scope()),
            generator_bound=sum(bool(row.marked) for row in rows) > _BOUND_SHARE * max(1, len(rows)),
        )

    def _objective(self, rows: list[Row], histograms: dict[str, Any], scope: Any) -> Objective | None:
        if not self.plan.slo:
            return None
        faults: dict[str, int] = {}
        for row in rows:
            for name, count in row.faults.items():
                faults[name] = faults.get(name, 0) + count
        connected = max((row.connected for row in rows), default=0)
        of = Measured(scope=scope, histograms=histograms, faults=faults, connected=connected)
        return evaluate(self.plan.slo, of, "step")
