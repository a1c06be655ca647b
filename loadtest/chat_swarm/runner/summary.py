"""Builds a run's summary, and decides whether it passed, from the collector and the final reports."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chat_swarm.audit.merge import merge_audits
from chat_swarm.model.bottleneck import SILENT_PROCESS_REASON
from chat_swarm.model.metric_names import METRICS
from chat_swarm.model.schema import (
    CapacityResult,
    GeneratorFigures,
    Scope,
    ServerFigures,
    Step,
    Summary,
    TimelineRow,
)
from chat_swarm.model.units import plural
from chat_swarm.results.drift import SOAK_SHAPE, find_drifts
from chat_swarm.results.finished_run import FinishedRun, HistogramsByScope
from chat_swarm.results.metric_refs import measurements_of
from chat_swarm.results.server_process import foreign_listener
from chat_swarm.results.slo import evaluate
from chat_swarm.results.standstills import standstill_sentences
from chat_swarm.results.storm_stats import STORM_SHAPE
from chat_swarm.runner import host_info
from chat_swarm.runner.collector import DRAIN, STEADY, Collector
from chat_swarm.runner.server_log import ServerLog

_FATAL_ERRORS: Final = {
    "swarm_erred": "internal error in the load generator (see the warnings)",
    "bad_frame_from_server": "the server sent lines that are not frames of the protocol",
    "endless_line_from_server": "the server sent lines longer than the protocol's longest frame",
    "message_of_no_room_of_ours": "bots received messages of rooms that they are not in",
}
"""Errors that fail a run, whatever the audit found → the audit's note."""
_SENDING_BOTS: Final = {"ChatterBot": "message_rate", "DirectBot": "direct_rate", "ChurnBot": ""}
"""Bots that send, and the option that sets their rate."""
_CLOCK_STEP_WARNING_US: Final = 1000
"""A larger step of the wall clock is warned about: latencies are off by as much."""
_UNSTAMPED_WARNING_SHARE: Final = 0.01
"""A larger share of reads without a kernel timestamp is warned about."""
_OTHER_LOAD_WARNING_CORES: Final = 0.2
"""More load of other programs, or stolen by a hypervisor, is warned about."""
_UNSTAMPED_ALLOWED_READS: Final = 50
"""Reads without a timestamp that are always accepted: the kernel starts stamping asynchronously."""
_RSS_PER_BOT_MIN_BOTS: Final = 1000
"""With fewer bots, the memory of the process itself hides that of a bot."""
_FULL_SHARE: Final = 0.95
"""Share of the peak of connections above which all count as connected."""


def summarize_run(
    *,
    run: str,
    started: str,
    target: str,
    command: Sequence[str],
    options: Mapping[str, Any],
    bots: Mapping[str, int],
    collector: Collector,
    finals: Mapping[int, Mapping[str, Any]],
    notes: Sequence[str],
    server: tuple[int, str, int] | None,
    server_log: ServerLog | None = None,
    slo: str,
    leave_out_marked: bool,
    shape: str,
    steps: Sequence[Step],
    limit: CapacityResult | None,
) -> FinishedRun:
    """Return the finished run, judged.

    `finals` are the final reports by process; `notes` say why the audit is incomplete; `server` is
    (pid, command, resident bytes before the first bot); `server_log` is its log, read here.
    """
    scopes = collector.scopes()
    headline = _headline(scopes, leave_out_marked=leave_out_marked)
    histograms: HistogramsByScope = {
        metric.name: {
            name: tally.histograms[metric.name]
            for name, tally in collector.tallies.items()
            if metric.name in tally.histograms
        }
        for metric in METRICS
        if metric.name in collector.tallies["all"].histograms
    }
    broken = [
        *notes,
        *_session_problems(finals, scopes["all"]),
        *_silent_senders(bots, options, scopes["all"]),
    ]
    audit = merge_audits([dict(final["audit"]) for final in finals.values()], notes=broken)
    errors: Counter[str] = Counter()
    for final in finals.values():
        errors.update(final["errors"])
    summary = Summary(
        run=run,
        started=started,
        seconds=collector.tallies["all"].seconds,
        command=list(command),
        target=target,
        options=dict(options),
        machine=host_info.describe_host(),
        bots=dict(bots),
        peak_connected=collector.peak_connected,
        headline=headline,
        scopes=scopes,
        audit=audit,
        generator=_generator(collector, finals),
        server=_server(collector, scopes[headline], server) if server is not None else None,
        shape=shape,
        steps=list(steps),
        limit=limit,
        errors=dict(errors),
    )
    rows = _headline_rows(collector.rows, headline)
    if server_log is not None and rows:
        summary.server_log = server_log.figures(rows[0].unix, rows[-1].unix + 1)
    late = [row.slowest for row in rows if row.slowest is not None]
    summary.slowest = max(late, key=lambda one: one.us, default=None)
    whole = FinishedRun(summary=summary, rows=collector.rows, histograms=histograms)
    if slo and limit is None:  # a capacity search breaks the SLO on purpose, and judges each step
        summary.objective = evaluate(slo, measurements_of(whole, headline), headline)
    if shape == SOAK_SHAPE:
        found = [drift.sentence for drift in find_drifts(whole.rows)]
        summary.remarks = found or ["The soak was too short to detect drift."]
    summary.remarks += standstill_sentences(whole)
    summary.warnings = [*foreign_listener(summary), *_warnings(summary, finals)]
    held = limit is None or limit.held is not None
    kept = summary.objective is None or summary.objective.passed
    summary.passed = audit.passed and held and kept and any_bot_logged_in(summary)
    summary.exit_code = 0 if summary.passed else 1
    return whole


def _headline_rows(rows: Sequence[TimelineRow], headline: str) -> list[TimelineRow]:
    """Return the rows of the headline scope, and of the drain: the slowest messages arrive there."""
    if headline == "all":
        return list(rows)
    return [
        row
        for row in rows
        if row.phase == DRAIN or (row.phase == STEADY and not (headline == "clean" and row.marked))
    ]


def any_bot_logged_in(summary: Summary) -> bool:
    """Return whether any bot ever had a session; without one, "nothing lost" means nothing."""
    return summary.scopes["all"].counts.get("logins", 0) > 0


def _session_problems(finals: Mapping[int, Mapping[str, Any]], scope: Scope) -> Iterator[str]:
    """Yield notes about bots without a session: the audit cannot check what they should have received."""
    if not scope.counts.get("logins"):
        yield "no bot ever had a session: nothing was checked"
    elif never := sum(final["never_there"] for final in finals.values()):
        yield f"{never:,} bots never had a session"
    if away := sum(final["away"] for final in finals.values()):
        yield f"{away:,} bots had lost their session at the end: what they missed was not checked"
    for error, sentence in _FATAL_ERRORS.items():
        if any(error in final["errors"] for final in finals.values()):
            yield sentence


def _silent_senders(bots: Mapping[str, int], options: Mapping[str, Any], scope: Scope) -> Iterator[str]:
    """Yield a note if bots that should have sent messages sent none."""
    senders = [kind for kind, rate in _SENDING_BOTS.items() if bots.get(kind) and options.get(rate, 1)]
    if senders and scope.counts.get("logins") and not scope.counts.get("sent"):
        yield f"no {' or '.join(senders)} sent a message: nothing was checked"


def _headline(scopes: Mapping[str, Scope], *, leave_out_marked: bool) -> str:
    wanted = ("clean", "steady", "all") if leave_out_marked else ("steady", "all")
    return next(name for name in wanted if scopes[name].seconds or name == "all")


def _generator(collector: Collector, finals: Mapping[int, Mapping[str, Any]]) -> GeneratorFigures:
    bots = max((row.bots for row in collector.rows), default=0)
    steady = [row for row in collector.rows if row.phase == STEADY]
    rss = sum(final["rss_bytes"] for final in finals.values())
    before = sum(final["rss_before"] for final in finals.values())
    reads = collector.tallies["all"].counts["delivered"]
    unstamped = sum(final["unstamped"] for final in finals.values())
    looks = [row.machine for row in steady or collector.rows if row.machine is not None]
    return GeneratorFigures(
        processes=max(1, len(collector.reporting_processes)),
        cpu_cores_peak=max((row.cpu for row in steady or collector.rows), default=0.0),
        rss_bytes=rss,
        rss_bytes_per_bot=max(0, rss - before) / bots if bots >= _RSS_PER_BOT_MIN_BOTS else None,
        marked_seconds=collector.marked.total(),
        marked=dict(collector.marked),
        stamped=unstamped <= max(_UNSTAMPED_ALLOWED_READS, _UNSTAMPED_WARNING_SHARE * reads),
        clock_step_us=max((final["clock_step_us"] for final in finals.values()), default=0),
        others_cores=statistics.fmean(one.others for one in looks) if looks else None,
        stolen_cores=statistics.fmean(one.stolen for one in looks) if looks else None,
    )


def _server(collector: Collector, scope: Scope, known: tuple[int, str, int]) -> ServerFigures:
    pid, command, before = known
    sampled = [row for row in collector.rows if row.server is not None]
    steady = [row for row in sampled if row.phase == STEADY] or sampled
    cpu = sum(row.server.cpu for row in steady if row.server is not None)
    delivered, sent = _total(steady, "delivered"), _total(steady, "sent")
    # With churn or storms not all bots are ever connected at once, so near the peak counts as all.
    full = [row for row in sampled if row.connected >= _FULL_SHARE * max(1, collector.peak_connected)]
    at_full = full[-1] if full and collector.peak_connected else None
    return ServerFigures(
        pid=pid,
        command=command,
        cpu_cores=cpu / len(steady) if steady else 0.0,
        cpu_us_per_delivery=cpu * 1e6 / delivered if delivered and scope.seconds else None,
        cpu_us_per_message=cpu * 1e6 / sent if sent and scope.seconds else None,
        rss_before_bytes=before,
        rss_peak_bytes=max((row.server.rss_bytes for row in sampled if row.server is not None), default=0),
        rss_bytes_per_connection=(
            (at_full.server.rss_bytes - before) / at_full.connected
            if at_full is not None and at_full.server is not None
            else None
        ),
        descriptors_peak=max(
            (row.server.descriptors for row in sampled if row.server is not None), default=0
        ),
    )


def _total(rows: Sequence[TimelineRow], name: str) -> int:
    return sum(row.counts.get(name, 0) for row in rows)


def _warnings(summary: Summary, finals: Mapping[int, Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    generator, scope = summary.generator, summary.scopes[summary.headline]
    if not any_bot_logged_in(summary):
        found.append(f"No bot could connect and log in: is there a server at {summary.target}?")
    elif summary.headline == "all":
        found.append("The bots were never all connected for a whole second: all figures cover the whole run.")
    if any_bot_logged_in(summary) and not summary.audit.checked and not summary.audit.notes:
        found.append("No bot of this run received a message: the audit checked nothing.")
    silent = generator.marked.get(SILENT_PROCESS_REASON, 0)
    slow = generator.marked_seconds - silent
    of = f"of {summary.scopes['steady'].seconds:.0f} steady seconds"
    if slow and summary.headline != "clean":
        found.append(f"In {slow} {of} the load generator was too slow (see --leave-out-marked, --processes).")
    if silent and summary.headline != "clean":
        found.append(
            f"In {silent} {of} a bot process did not report: it died, was killed or was stopped (see its"
            " log; --leave-out-marked excludes these seconds)."
        )
    if not generator.stamped:
        found.append("No kernel receive timestamps: latencies include the bots' own lag.")
    others, stolen = generator.others_cores or 0.0, generator.stolen_cores or 0.0
    if others + stolen > _OTHER_LOAD_WARNING_CORES:
        lost = [f"other programs used {others:.1f} cores"] if others > _OTHER_LOAD_WARNING_CORES / 2 else []
        lost += [f"a hypervisor stole {stolen:.1f} cores"] if stolen > _OTHER_LOAD_WARNING_CORES / 2 else []
        found.append(f"On this machine {' and '.join(lost)}; latencies include that contention.")
    if generator.clock_step_us > _CLOCK_STEP_WARNING_US:
        found.append(
            f"The wall clock was set by {generator.clock_step_us / 1000:.1f} ms during the run;"
            " latencies may be off by as much."
        )
    counts = summary.scopes["all"].counts
    if counts.get("errors"):
        most = sorted(summary.errors.items(), key=lambda item: -item[1])[:4]
        found.append(
            f"{counts['errors']:,} errors ({', '.join(f'{name} {number:,}' for name, number in most)}):"
            " they do not fail a run by themselves; an SLO with errors=0 does."
        )
    if counts.get("abandoned"):
        was = "was" if counts["abandoned"] == 1 else "were"
        resumed = summary.options.get("resumable") or summary.shape == STORM_SHAPE
        found.append(
            f"{plural(counts['abandoned'], 'message')} {was} not acknowledged when their session was lost:"
            " it is unknown whether they are stored"
            f"{'' if resumed else ' (with --resumable the bots would resume and find out)'}."
        )
    unsent, sent = (summary.scopes["all"].counts.get(name, 0) for name in ("unsent", "sent"))
    if unsent > sent / 1000:
        found.append(
            f"{unsent:,} messages were planned and never sent, because their bots were held up until the end:"
            " no latency includes them."
        )
    early = sum(final["early"] for final in finals.values())
    if early:
        found.append(
            f"{early:,} deliveries were received before they were sent: the machines' clocks differ,"
            " and every latency between two machines is off by as much."
        )
    if unseen := summary.untimed_deliveries:
        found.append(
            f"{unseen:,} of {scope.counts['delivered']:,} deliveries were read too late to be timed: the bots"
            " were too slow."
        )
    for final in finals.values():
        found.extend(final["warnings"])
    return list(dict.fromkeys(found))
