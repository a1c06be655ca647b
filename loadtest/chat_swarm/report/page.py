"""Text parts of report.html (page/report.html.jinja): headline, facts, verdict checks, tiles."""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from chat_swarm.model.metric_names import METRIC_BY_NAME
from chat_swarm.model.schema import Quantiles, Scope
from chat_swarm.model.units import DASH, count, duration, microseconds, plural, significant, size
from chat_swarm.results import verdict
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.server_process import server_log_sentence, short_command
from chat_swarm.results.storm_stats import all_resumed, describe_storms

SCOPE_TITLES: Final = {
    "all": "All seconds",
    "steady": "Steady seconds",
    "clean": "Steady seconds that are not marked",
}


class ReportTile(Struct, kw_only=True):
    """A key figure: label, value, unit, meaning (tooltip), and a note below it."""

    label: str
    value: str
    unit: str = ""
    meaning: str = ""
    note: str = ""
    hero: bool = False


class VerdictCheck(Struct, kw_only=True):
    """A part of the verdict; `severity` is `good`, `bad` or `none`."""

    title: str
    text: str
    severity: str

    @property
    def mark(self) -> str:
        """The sign before it, so that it does not depend on colour."""
        return {"good": "✓", "bad": "✗"}.get(self.severity, "i")


def headline(run: FinishedRun) -> str:
    """Return the run in one sentence; of a capacity search, its result."""
    if run.summary.limit is not None:
        return verdict.limit_sentence(run.summary.limit)
    scope = run.scope(run.summary.headline)
    held = plural(run.summary.peak_connected, "connection")
    sent, delivered = scope.rates.get("sent", 0.0), scope.rates.get("delivered", 0.0)
    delivery = scope.metrics.get("delivery") or Quantiles()
    if not delivery.count:
        return f"{held}, and no delivery was timed"
    return (
        f"{held}, {_rate(sent)} messages per second in, {_rate(delivered)} deliveries out;"
        f" 99 % of them within {microseconds(delivery.p99)}"
    )


def facts(run: FinishedRun) -> list[str]:
    """Return the facts below the headline: time, target, duration, bots, shape."""
    summary = run.summary
    found = [
        summary.started.replace("T", " ").replace("Z", " UTC").replace("+00:00", " UTC"),
        f"target {summary.target}",
    ]
    steady = run.scope("steady").seconds
    found.append(f"{duration(summary.seconds)}, {duration(steady)} of it steady")
    found += [f"{count(number)} {name}s" for name, number in summary.bots.items() if number]
    if summary.shape:
        found.append(f"shape: {summary.shape}")
    return found


def checks(run: FinishedRun) -> Iterator[VerdictCheck]:
    """Yield the parts of the verdict."""
    summary = run.summary
    yield VerdictCheck(
        title="Audit",
        text="; ".join([verdict.audit_sentence(summary.audit), *summary.audit.notes[:3]]),
        severity="good" if summary.audit.passed else "bad",
    )
    for term in summary.objective.terms if summary.objective else ():
        yield VerdictCheck(
            title=verdict.format_condition(term.text),
            text=f"measured: {verdict.term_value(term)}",
            severity="good" if term.passed else "bad",
        )
    if sentences := describe_storms(run):
        yield VerdictCheck(
            title="Storms", text=" ".join(sentences), severity="good" if all_resumed(run) else "none"
        )
    if slowest := verdict.slowest_sentence(summary):
        yield VerdictCheck(title="Slowest delivery", text=slowest, severity="none")
    if summary.server_log is not None:
        text = server_log_sentence(summary.server_log)
        yield VerdictCheck(title="The server's own log", text=text, severity="none")
    if summary.limit is not None:
        severity = "none" if summary.limit.held is not None else "bad"
        asked = summary.options.get("slo") or "the SLO"
        yield VerdictCheck(
            title="Limit", text=f"searched by {asked}: see the load's steps", severity=severity
        )
    elif summary.objective is None:
        yield VerdictCheck(
            title="No SLO", text='none given; example: --slo "delivery.p99<50ms,lost=0"', severity="none"
        )


def delivery_tiles(run: FinishedRun) -> Iterator[ReportTile]:
    """Yield the large tiles: delivery latency."""
    delivery = run.scope(run.summary.headline).metrics.get("delivery") or Quantiles()
    meaning = METRIC_BY_NAME["delivery"].meaning
    for label, value in (
        ("Delivery p50", delivery.p50),
        ("p99", delivery.p99),
        ("p99.9", delivery.p999),
        ("max", delivery.max),
    ):
        number, unit = _split(microseconds(value) if delivery.count else DASH)
        yield ReportTile(
            label=label,
            value=number,
            unit=unit,
            meaning=f"delivery, {label[-5:].strip()}: {meaning}",
            hero=True,
        )


def server_tiles(run: FinishedRun) -> Iterator[ReportTile]:
    """Yield the tiles of the server's other figures."""
    summary = run.summary
    scope = run.scope(summary.headline)
    yield _tile("Connections", count(summary.peak_connected), "concurrent sessions, at the peak")
    yield _tile("Messages in", f"{_rate(scope.rates.get('sent', 0.0))} /s", "messages handed to the kernel")
    yield _tile(
        "Deliveries out", f"{_rate(scope.rates.get('delivered', 0.0))} /s", "received, counted per receiver"
    )
    yield from _server_process_tiles(run)
    for metric, label in (
        ("ack", "Acknowledged, p99"),
        ("delivery_response", "From planned, p99"),
        ("rtt", "Ping, p99"),
    ):
        yield _latency_tile(scope, metric, label)
    yield _latency_tile(run.scope("all"), "login", "Log-in, p99")
    for metric, label in (("resume", "Back after a cut, p99"), ("catch_up", "Caught up, p99")):
        if (short := scope.metrics.get(metric)) is not None and short.count:
            yield _latency_tile(scope, metric, label)


def _server_process_tiles(run: FinishedRun) -> Iterator[ReportTile]:
    server = run.summary.server
    if server is None:
        yield _tile("CPU and memory", DASH, "the server from outside", "its process was not sampled")
        return
    each = microseconds(server.cpu_us_per_delivery)
    message = microseconds(server.cpu_us_per_message)
    meaning = "CPU time of the server's process ÷ deliveries"
    yield _tile("CPU per delivery", each, meaning, f"{message} a message")
    process = f"pid {server.pid}: {short_command(server)}"
    yield _tile("CPU", f"{significant(server.cpu_cores)} cores", "of the server's process", process)
    yield _tile(
        "Memory per connection",
        size(server.rss_bytes_per_connection),
        "(resident memory with all connected, less before) ÷ connections",
    )
    yield _tile(
        "Memory, peak", size(server.rss_peak_bytes), "resident", f"{size(server.rss_before_bytes)} before"
    )


def generator_tiles(run: FinishedRun) -> Iterator[ReportTile]:
    """Yield the tiles of the load generator's own figures."""
    own = run.summary.generator
    scope = run.scope(run.summary.headline)
    yield _latency_tile(scope, "bot_lag", "Bot lag, p99")
    yield _latency_tile(scope, "send_lag", "Send lag, p99")
    marked, seconds = verdict.marked_seconds(run)
    reasons = ", ".join(f"{reason}: {number}" for reason, number in own.marked.items())
    yield _tile(
        "Marked seconds",
        f"{marked} of {seconds}",
        "seconds in which the generator was the bottleneck, or a process of it did not report",
        reasons or "none",
    )
    processes = "1 process" if own.processes == 1 else f"{own.processes} processes"
    cores = f"{significant(own.cpu_cores_peak)} cores"
    yield _tile("CPU, peak", cores, "of the busiest bot process", processes)
    if own.others_cores is not None and own.stolen_cores is not None:
        others, stolen = significant(own.others_cores), significant(own.stolen_cores)
        meaning = "used on the master's machine by programs other than the swarm and the server"
        yield _tile("Other programs", f"{others} cores", meaning, f"{stolen} stolen by a hypervisor")
    worst = max((row.loop_lag_max_us for row in run.rows_of(run.summary.headline)), default=None)
    yield _tile("Loop lag, worst", microseconds(worst), METRIC_BY_NAME["loop_lag"].meaning)
    yield _tile(
        "Memory per bot", size(own.rss_bytes_per_bot), "resident ÷ bots", f"{size(own.rss_bytes)} in all"
    )


def scope_phrase(run: FinishedRun) -> str:
    """Return which seconds the key figures cover, and how long they are."""
    name = run.summary.headline
    seconds = duration(run.scope(name).seconds)
    words = {
        "all": "over the whole run",
        "steady": "over the steady seconds",
        "clean": "without marked seconds",
    }
    return f"{words.get(name, name)}: {seconds}"


def time_hint(run: FinishedRun) -> str:
    """Return the hint above the plots over time."""
    marked = sum(1 for row in run.rows if row.marked)
    why = verdict.why_marked(run.rows)
    grey = "Grey: the ramp, and the drain, in which the bots only wait for outstanding messages."
    if not marked:
        return f"{grey} No second is marked. Drag to zoom all plots at once, double-click to see all."
    return (
        f"{grey} Orange: {plural(marked, 'second')} in which {why}."
        " Drag to zoom all plots at once, double-click to see all."
    )


def _rate(value: float) -> str:
    return count(value) if value >= 10 else significant(value)


def _tile(label: str, shown: str, meaning: str, note: str = "") -> ReportTile:
    number, unit = _split(shown)
    return ReportTile(label=label, value=number, unit=unit, meaning=meaning, note=note)


def _split(shown: str) -> tuple[str, str]:
    """Return (number, unit); the unit is "" if there is none."""
    number, _, unit = shown.rpartition(" ")
    return (number, unit) if number and not unit.isdigit() else (shown, "")


def _latency_tile(scope: Scope, metric: str, label: str) -> ReportTile:
    short = scope.metrics.get(metric)
    meaning = METRIC_BY_NAME[metric].meaning
    if short is None or not short.count:
        return _tile(label, DASH, meaning, "not measured")
    note = f"p50 {microseconds(short.p50)}, p99.9 {microseconds(short.p999)}"
    return _tile(label, microseconds(short.p99), meaning, note)


def format_value(value: Any) -> str:
    """Return an option's or a machine fact's value as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(one)}" for key, one in value.items()) or DASH
    if isinstance(value, list | tuple):
        return ", ".join(format_value(one) for one in value) or DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return DASH if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
