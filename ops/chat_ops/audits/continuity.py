"""Audit checks of the log's own completeness: holes, overlaps, clock jumps, dropped lines.

Intervals follow each other without a gap, so missing time means missing lines.
"""

from typing import Final

from chat_ops.audits.finding import AuditCheck, AuditVerdict, Finding, check_of_findings
from chat_ops.log.event_log import EventLog

_PAUSES: Final = """
SELECT node, before AS begun, ts - to_microseconds((interval_s * 1e6)::BIGINT) AS ended,
    same, greatest(1.0, 0.1 * interval_s) AS slack
FROM (
    SELECT node, ts, interval_s, coalesce(lag(ts) OVER one, CASE WHEN started THEN begun END) AS before,
        lag(ts) OVER one = ts AS same
    FROM (
        SELECT f.node, f.ts, f.interval_s, r.begun, r.started, r.run
        FROM (SELECT * FROM audit_few WHERE event = 'interval' AND interval_s BETWEEN 0 AND 1e6) AS f
        ASOF JOIN runs AS r ON f.node = r.node AND f.ts >= r.begun
    ) WINDOW one AS (PARTITION BY node, run ORDER BY ts, interval_s)
) WHERE before IS NOT NULL
"""
"""Slack: seconds by which an interval may miss the end of the previous one. It is timed by the monotonic
clock, and its line is written slightly later."""
MAX_BACKWARD_S: Final = 0.5
"""A line may be this much older than the one above, as several threads write to one file."""

_HOLES: Final = """
SELECT node, begun, ended FROM pauses WHERE epoch_us(ended - begun) / 1e6 > slack
"""
_OVERLAPS: Final = """
SELECT node, begun, ended, same FROM pauses WHERE same OR epoch_us(begun - ended) / 1e6 > slack
"""
_CLOCK_JUMPS: Final = """
SELECT before, ts, node, file FROM (
    SELECT ts, coalesce(node, '') AS node, file, lag(ts) OVER () AS before,
        lag(coalesce(node, '')) OVER () AS before_node, lag(file) OVER () AS before_file
    FROM {source}
) WHERE node = before_node AND file = before_file AND epoch_us(before - ts) / 1e6 > ?
"""
CLOCK_STEP_S: Final = 1.0
"""The clock was set if a line is older by more than this: smaller differences are slewed, as by chronyd with
the usual `makestep 1`."""
IN_CLOCK_JUMP: Final = f"""EXISTS (SELECT 1 FROM clock_jumps AS j
    WHERE j.node = {{node}} AND {{since}} <= j.before AND {{until}} >= j.ts
    AND epoch_us(j.before - j.ts) > {CLOCK_STEP_S * 1e6:.0f})"""  # noqa: S608  ours
"""SQL: whether the node's clock was set back over some time between `since` and `until`. Lines of such a time
are not in the order of their times, so nothing about that order is proved."""


def make_clock_table(log: EventLog) -> None:
    """Make the table `clock_jumps`: lines that are older than the one `before` in their file."""
    log.materialise("clock_jumps", _CLOCK_JUMPS.format(source=log.view_of_all_names), MAX_BACKWARD_S)


def make_pause_tables(log: EventLog) -> None:
    """Make the tables `holes` and `overlapping`, after `make_clock_table`."""
    log.materialise("pauses", _PAUSES)
    log.materialise("holes", _HOLES)
    log.materialise("overlapping", _OVERLAPS)


def checks(log: EventLog) -> list[AuditCheck]:
    """Check holes, overlaps, clocks and lost lines."""
    return [_holes(log), _overlaps(log), _clock(log), _dropped(log)]


def _holes(log: EventLog) -> AuditCheck:
    ((intervals,),) = log.rows("SELECT count(*) FROM audit_few WHERE event = 'interval'")
    if not intervals:
        return AuditCheck("holes", AuditVerdict.UNKNOWN, None, "the log has no intervals")
    found = [
        Finding(begun, node, f"no interval covers the {(ended - begun).total_seconds():.1f} s from here")
        for node, begun, ended in log.rows("SELECT node, begun, ended FROM holes ORDER BY begun, node, ended")
    ]
    says = f"of {intervals} intervals: a file is missing, lines were lost, or the machine slept"
    return check_of_findings("holes", says, found)


def _overlaps(log: EventLog) -> AuditCheck:
    found = [
        Finding(
            begun,
            node,
            "this interval occurs twice: is a file given twice?"
            if same
            else f"the next one begins {(begun - ended).total_seconds():.1f} s before the end of this one",
        )
        for node, begun, ended, same in log.rows(
            "SELECT node, begun, ended, same FROM overlapping ORDER BY begun, node, ended, same"
        )
    ]
    return check_of_findings(
        "overlaps", "a file given twice, two servers of one name, or a clock that was set back", found
    )


def _clock(log: EventLog) -> AuditCheck:
    found = [
        Finding(before, node, f"{(before - ts).total_seconds():.3f} s back, in {file}")
        for before, ts, node, file in log.rows("SELECT before, ts, node, file FROM clock_jumps ORDER BY ALL")
    ]
    return check_of_findings(
        "clock_back",
        f"lines more than {MAX_BACKWARD_S:g} s older than the one above: the clock was set",
        found,
    )


def _dropped(log: EventLog) -> AuditCheck:
    rows = log.rows(
        "SELECT ts, node, coalesce(count, 0), error FROM audit_few WHERE event = 'log_lines_dropped'"
        " ORDER BY ALL"
    )
    found = [
        Finding(ts, node, f"{count} lines{': ' + error if error else ''}") for ts, node, count, error in rows
    ]
    says = "lines that the server could not write; their content is missing in all reports"
    return check_of_findings("lines_dropped", says, found, sum(count for _, _, count, _ in rows))
