"""A synthetic run of the swarm with plausible figures, for tests of reports, SLOs and comparisons."""

from typing import Any

import numpy as np

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import (
    AuditFault,
    AuditResult,
    CapacityResult,
    GeneratorFigures,
    Quantiles,
    Scope,
    ServerFigures,
    ServerSample,
    Step,
    Summary,
    TimelineRow,
)
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.metric_refs import measurements_of
from chat_swarm.results.slo import evaluate

RAMP_S = 10
DRAIN_S = 4


def synthetic_run(
    *,
    seed: int = 1,
    steady: int = 60,
    bots: int = 5_000,
    messages: int = 1_000,
    fan_out: int = 20,
    tail: float = 1.0,
    drift: float = 0.0,
    marked: tuple[int, ...] = (),
    samples: int = 3_000,
    slo: str = "delivery.p99<50ms,lost=0",
    steps: bool = False,
    **summary: Any,
) -> FinishedRun:
    """Return a run; `tail` stretches delivery's tail, `drift` varies its seconds, in e-folds."""
    source = np.random.default_rng(seed)
    made = _SecondMaker(source, bots, messages, fan_out, tail, drift, samples)
    rows = []
    for t in range(RAMP_S + steady + DRAIN_S):
        phase = "ramp" if t < RAMP_S else "steady" if t < RAMP_S + steady else "drain"
        rows.append(made.second(t, phase, lagging=t in marked))
    if steps:
        for row in rows[RAMP_S : RAMP_S + steady]:
            row.step = f"{(row.t - RAMP_S) // 15 * 1000 + 1000} messages/s"
    return _finish(made, rows, slo, steps=steps, summary=summary)


class _SecondMaker:
    def __init__(
        self,
        source: np.random.Generator,
        bots: int,
        messages: int,
        fan_out: int,
        tail: float,
        drift: float,
        samples: int,
    ) -> None:
        self.source, self.bots, self.messages, self.fan_out = source, bots, messages, fan_out
        self.tail, self.drift, self.samples = tail, drift, samples
        self.histograms: dict[str, dict[str, Histogram]] = {}
        self._wander = 0.0

    def second(self, t: int, phase: str, *, lagging: bool) -> TimelineRow:
        source = self.source
        self._wander = 0.7 * self._wander + self.drift * float(source.normal())
        loud = 0.0 if phase == "drain" else min(1.0, (t + 1) / RAMP_S)
        sent = int(source.poisson(self.messages * loud))
        delivered = sent * self.fan_out
        lag = 60.0 if lagging else 1.0
        row = TimelineRow(
            t=t,
            unix=1_790_000_000 + t,
            phase=phase,
            bots=int(self.bots * min(1.0, (t + 1) / RAMP_S)),
            connected=int(self.bots * min(1.0, (t + 1) / RAMP_S)),
            counts={
                "sent": sent,
                "sent_bytes": sent * 190,
                "acknowledged": sent,
                "delivered": delivered,
                "received_bytes": delivered * 260,
                "pings": int(self.bots / 10 * loud),
                **(
                    {"connects": self.bots // RAMP_S, "logins": self.bots // RAMP_S}
                    if phase == "ramp"
                    else {}
                ),
                **({"errors": 3, "refused": 3} if lagging else {}),
            },
            loop_lag_max_us=int(2_500 * lag * (1 + source.random())),
            cpu=0.98 if lagging else 0.42 * loud + 0.03 * float(source.random()) + 0.05,
            marked="loop lag 231 ms" if lagging else "",
            server=ServerSample(
                cpu=0.06 + delivered * 28e-6 * float(source.normal(1, 0.03)),
                rss_bytes=int(48e6 + 10_300 * self.bots * min(1.0, (t + 1) / RAMP_S) + t * 9e4),
                descriptors=40 + self.bots,
            ),
        )
        for name, middle, width, wanted in self._latencies(lag):
            number = min(
                self.samples, {"connect": self.bots // RAMP_S, "login": self.bots // RAMP_S}.get(name, sent)
            )
            if name in {"connect", "login"} and phase != "ramp":
                continue
            if number:
                values = source.lognormal(np.log(middle), width, number) * wanted
                self._record(row, name, np.maximum(values, 1).astype(np.int64))
        return row

    def _latencies(self, lag: float) -> list[tuple[str, float, float, float]]:
        wander = float(np.exp(self._wander))
        return [
            ("connect", 300, 0.6, 1),
            ("login", 900, 0.7, 1),
            ("rtt", 350, 0.7, wander),
            ("ack", 900, 0.75, wander),
            ("ack_response", 980, 0.8, wander),
            ("delivery", 1_300, 0.8 * self.tail, wander),
            ("delivery_response", 1_400, 0.85 * self.tail, wander),
            ("bot_lag", 180 * lag, 0.9, 1),
            ("send_lag", 90 * lag, 0.9, 1),
            ("loop_lag", 60 * lag, 1.0, 1),
        ]

    def _record(self, row: TimelineRow, name: str, values: Any) -> None:
        second = Histogram()
        second.record(values)
        row.metrics[name] = second.quantiles()
        scopes = ["all"]
        if row.phase == "steady":
            scopes += ["steady"] if row.marked else ["steady", "clean"]
        for scope in scopes:
            self.histograms.setdefault(name, {}).setdefault(scope, Histogram()).add(second)


def _scope(rows: list[TimelineRow], histograms: dict[str, dict[str, Histogram]], name: str) -> Scope:
    counts: dict[str, int] = {}
    for row in rows:
        for key, number in row.counts.items():
            counts[key] = counts.get(key, 0) + number
    rated = ("sent", "delivered", "acknowledged", "sent_bytes", "received_bytes")
    return Scope(
        seconds=float(len(rows)),
        counts=counts,
        rates={key: counts.get(key, 0) / len(rows) for key in rated} if rows else {},
        metrics={
            metric: scopes[name].quantiles() if name in scopes else Quantiles()
            for metric, scopes in histograms.items()
        },
    )


def _finish(
    made: _SecondMaker, rows: list[TimelineRow], slo: str, *, steps: bool, summary: dict[str, Any]
) -> FinishedRun:
    run = FinishedRun(summary=None, rows=rows, histograms=made.histograms)  # type: ignore[arg-type]  # set below
    steady = run.rows_of("steady")
    delivered = sum(row.counts["delivered"] for row in steady)
    cpu = sum(row.server.cpu for row in steady if row.server)
    marked = sum(1 for row in rows if row.marked)
    start = rows[0].server
    assert start is not None
    fields: dict[str, Any] = {
        "run": "a1b2c3d4",
        "started": "2026-09-21T14:03:07Z",
        "seconds": float(len(rows)),
        "command": [
            "locust",
            "-f",
            "loadtest/bots.py",
            "--headless",
            "-u",
            str(made.bots),
            "-r",
            "500",
            "-t",
            "60s",
        ],
        "target": "127.0.0.1:7072",
        "options": {"room_size": made.fan_out, "message_rate": 0.2, "payload_bytes": "160", "drain": 10.0},
        "machine": {
            "cores": 2,
            "processor": "Example 3000",
            "memory_mib": 24_000,
            "python": "CPython 3.11.7",
        },
        "bots": {"ChatterBot": made.bots},
        "peak_connected": made.bots,
        "scopes": {
            name: _scope(run.rows_of(name), made.histograms, name) for name in ("all", "steady", "clean")
        },
        "audit": AuditResult(
            counts={"lost": 0},
            receivers=made.bots,
            checked=sum(row.counts["delivered"] for row in rows),
            rooms=made.bots // made.fan_out,
        ),
        "generator": GeneratorFigures(
            processes=1,
            cpu_cores_peak=max(row.cpu for row in rows),
            rss_bytes=180_000_000,
            rss_bytes_per_bot=21_400.0,
            marked_seconds=marked,
            marked={"loop lag": marked} if marked else {},
            clock_step_us=12,
        ),
        "server": ServerFigures(
            pid=4711,
            command="chat-server --port 7072",
            cpu_cores=cpu / max(1, len(steady)),
            cpu_us_per_delivery=cpu / delivered * 1e6 if delivered else None,
            cpu_us_per_message=cpu / delivered * 1e6 * made.fan_out if delivered else None,
            rss_before_bytes=48_000_000,
            rss_peak_bytes=max(row.server.rss_bytes for row in rows if row.server),
            rss_bytes_per_connection=10_500.0,
            descriptors_peak=made.bots + 40,
        ),
    }
    run.summary = Summary(**{**fields, **summary})
    if slo:
        run.summary.objective = evaluate(slo, measurements_of(run, "steady"), "steady")
        run.summary.passed = run.summary.objective.passed and run.summary.audit.passed
        run.summary.exit_code = int(not run.summary.passed)
    if steps:
        _add_steps(run, slo)
    return run


def _add_steps(run: FinishedRun, slo: str) -> None:
    run.summary.shape = "limit"
    count = len(run.rows_of("steady")) // 15
    for number in range(count):
        objective = evaluate(slo, measurements_of(run, "steady"), f"step {number + 1}")
        run.summary.steps.append(
            Step(
                label=f"{(number + 1) * 1000} messages/s",
                start=RAMP_S + number * 15,
                end=RAMP_S + number * 15 + 15,
                bots=run.summary.peak_connected,
                rate_factor=float(number + 1),
                held=number < count - 1,
                figures=run.scope("steady"),
                objective=objective,
            )
        )
    run.summary.limit = CapacityResult(
        by="rate",
        held=(count - 1) * 1000.0,
        broke=count * 1000.0,
        why="delivery.p99 was 61 ms",
    )


def with_faults(run: FinishedRun) -> FinishedRun:
    """Add faults to the audit of a run."""
    run.rows[30].faults["lost"] = 2
    run.rows[44].faults["repeated"] = 1
    run.summary.audit.passed = False
    run.summary.audit.counts = {"lost": 2, "repeated": 1}
    run.summary.audit.faults = [
        AuditFault(kind="lost", room="swarm-17", bot="bot-204", first=318, last=319),
        AuditFault(kind="repeated", room="swarm-3", bot="bot-61", first=77, last=77, detail="shown twice"),
    ]
    run.summary.passed = False
    run.summary.exit_code = 1
    return run
