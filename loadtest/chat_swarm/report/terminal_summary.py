"""Formats a run's result for a terminal: about a dozen lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from chat_swarm.model.schema import Scope
from chat_swarm.model.units import (
    DASH,
    count,
    duration,
    microseconds,
    percentage,
    plural,
    printable,
    significant,
    size,
)
from chat_swarm.results import verdict
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.run_directory import REPORT_FILE
from chat_swarm.results.server_process import server_log_sentence, short_command
from chat_swarm.results.storm_stats import describe_storms

_SHOWN_METRICS: Final = {
    "delivery": "sent → received",
    "delivery_response": "planned → received",
    "ack": "sent → own echo",
    "rtt": "ping → pong",
    "resume": "cut → session resumed",
    "catch_up": "missed messages: sent → received",
}


def format_summary(run: FinishedRun, directory: Path | None = None, unwritten: Sequence[str] = ()) -> str:
    """Return the lines; control characters of peers and options are made visible.

    `unwritten` has a sentence for each file of the run that could not be written.
    """
    summary = run.summary
    scope = run.scope(summary.headline)
    lines = [
        f"Swarm run {summary.run}: {verdict.outcome(run, written=not unwritten).upper()}",
        _line(
            "target",
            f"{summary.target}, {plural(summary.peak_connected, 'connection')} at the peak,"
            f" {duration(summary.seconds)}, {duration(scope.seconds)} of it {summary.headline}",
        ),
        _line("audit", verdict.audit_sentence(summary.audit)),
    ]
    lines += [_line("", note) for note in summary.audit.notes[:3]]
    lines += [_line("", fault) for fault in verdict.fault_sentences(summary.audit)]
    if summary.objective is not None:
        for number, term in enumerate(summary.objective.terms):
            mark = "held" if term.passed else "BROKEN"
            shown = f"{verdict.format_condition(term.text)}: {mark}, {verdict.term_value(term)}"
            lines.append(_line("" if number else "SLO", shown))
    if summary.limit is not None:
        lines.append(_line("limit", verdict.limit_sentence(summary.limit)))
    lines.append(
        _line(
            "load",
            f"{_rate(scope.rates.get('sent'))} messages in{_refused(scope)} and"
            f" {_rate(scope.rates.get('delivered'))} deliveries out, per second",
        )
    )
    lines += [_line("" if number else "storms", text) for number, text in enumerate(describe_storms(run))]
    for metric, meaning in _SHOWN_METRICS.items():
        short = scope.metrics.get(metric)
        if short and short.count:
            parts = (("p50", short.p50), ("p99", short.p99), ("p99.9", short.p999), ("max", short.max))
            shown = "  ".join(f"{name} {microseconds(value):<8}" for name, value in parts)
            lines.append(_line(metric, f"{shown} {meaning}"))
    if slowest := verdict.slowest_sentence(summary):
        lines.append(_line("slowest delivery", slowest))
    lines += [_line("" if number else "server", text) for number, text in enumerate(_server(run))]
    lines.append(_line("generator", _generator(run)))
    lines += [_line("", verdict.generator_sentence(run))]
    if (load := verdict.other_load(summary.generator)) is not None:
        lines.append(_line("machine", load))
    if summary.errors:
        most = sorted(summary.errors.items(), key=lambda item: -item[1])[:4]
        lines.append(_line("errors", ", ".join(f"{name} {count(number)}" for name, number in most)))
    lines += [_line("remark", remark) for remark in summary.remarks]
    lines += [_line("warning", warning) for warning in summary.warnings]
    lines += [f"ERROR: {problem}" for problem in unwritten]
    if directory is not None and not unwritten:
        lines.append(_line("report", str(directory / REPORT_FILE)))
    return "\n".join(printable(line) for line in lines)


def _line(title: str, text: str, width: int = 17) -> str:
    return f"  {title:<{width}} {text}"


def _rate(value: float | None) -> str:
    return DASH if value is None else count(value) if value >= 10 else significant(value)


def _refused(scope: Scope) -> str:
    refused = scope.counts.get("refused", 0)
    return f" ({percentage(refused, scope.counts.get('sent', 0))} of them refused)" if refused else ""


def _server(run: FinishedRun) -> Iterator[str]:
    server, log = run.summary.server, run.summary.server_log
    if server is None:
        yield "not sampled (its process is not on this machine, or was not found)"
    elif not server.rss_peak_bytes:
        yield "not sampled: the run was too short"
    else:
        parts = [f"{significant(server.cpu_cores)} cores"]
        if server.cpu_us_per_delivery is not None:
            parts.append(f"{microseconds(server.cpu_us_per_delivery)} of CPU per delivery")
        if server.rss_bytes_per_connection is not None:
            parts.append(f"{size(server.rss_bytes_per_connection)} per connection")
        yield f"{', '.join(parts)}, {size(server.rss_peak_bytes)} at the peak"
        yield f"that is pid {server.pid}: {short_command(server)}"
    if log is not None:
        yield server_log_sentence(log)


def _generator(run: FinishedRun) -> str:
    own = run.summary.generator
    lag = run.scope(run.summary.headline).metrics.get("bot_lag")
    parts = ["1 process" if own.processes == 1 else f"{own.processes} processes"]
    parts.append(f"busiest at {significant(own.cpu_cores_peak)} cores")
    if lag and lag.count:
        parts.append(f"bot lag p99 {microseconds(lag.p99)}")
    if own.rss_bytes_per_bot is not None:
        parts.append(f"{size(own.rss_bytes_per_bot)} per bot")
    return ", ".join(parts)
