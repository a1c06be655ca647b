"""Server runs in a log (from one `server_started` to the next of the same node), and checks of their ends.

Makes the tables of the other checks: `audit_few` (all events but sessions and messages) and `runs`. Both
ignore filters by user and room, because what happened to a server explains what happened to them.
"""

from typing import Final

from chat_ops.audits.continuity import IN_CLOCK_JUMP
from chat_ops.audits.finding import AuditCheck, Finding, check_of_findings
from chat_ops.log.event_log import FREQUENT_EVENTS, EventLog

_RUNS: Final = """
WITH begins AS (
    SELECT node, min(ts) AS begun, false AS started, NULL AS epoch, NULL AS store FROM spans GROUP BY node
    HAVING min(ts) < coalesce(
        (SELECT min(ts) FROM audit_few AS f WHERE event = 'server_started' AND f.node = spans.node),
        'infinity')
    UNION ALL
    SELECT DISTINCT node, ts, true, epoch, store FROM audit_few WHERE event = 'server_started'
), following AS (
    SELECT *, row_number() OVER (ORDER BY begun, node, epoch, store) AS run,
        coalesce(lead(begun) OVER one, TIMESTAMP 'infinity') AS until,
        lead(epoch) OVER one AS next_epoch, lead(store) OVER one AS next_store
    FROM begins WINDOW one AS (PARTITION BY node ORDER BY begun, epoch, store)
), epochs AS (
    SELECT node, ts, epoch FROM audit_few WHERE event = 'epoch_changed'
)
SELECT run, node, begun, until, started,
    (SELECT min(ts) FROM audit_few AS f
        WHERE event = 'server_stopped' AND f.node = r.node AND f.ts >= r.begun AND f.ts < r.until) AS stopped,
    coalesce(
        (SELECT arg_max(epoch, (ts, epoch)) FROM epochs AS n
            WHERE n.node = r.node AND n.ts >= r.begun AND n.ts < r.until AND n.epoch IS NOT NULL),
        epoch,
        -- A run whose beginning is not in the log has the epoch of the next, unless that one says otherwise.
        CASE WHEN next_store <> 'memory' AND NOT EXISTS (
            SELECT 1 FROM epochs AS n WHERE n.node = r.node AND n.epoch = r.next_epoch) THEN next_epoch END,
        'of ' || node
    ) AS epoch
FROM following AS r
"""

_CRASHES: Final = f"""
SELECT node, begun, until, node IN (SELECT node FROM overlapping),
    {IN_CLOCK_JUMP.format(node="r.node", since="begun", until="begun")}
    OR {IN_CLOCK_JUMP.format(node="r.node", since="until", until="until")}
FROM runs AS r WHERE stopped IS NULL AND until < 'infinity' ORDER BY until, node, begun
"""  # noqa: S608  ours


def make_run_tables(log: EventLog) -> None:
    """Make the tables `audit_few`, `spans` and `runs`."""
    all_lines = log.view_of_all_names
    rare = (
        log.rare_events()
        if all_lines == "lines"
        else f"{all_lines} WHERE event NOT IN {tuple(str(event) for event in FREQUENT_EVENTS)}"
    )
    log.materialise("audit_few", f"SELECT * REPLACE (coalesce(node, '') AS node) FROM {rare}")  # noqa: S608  ours
    log.materialise(
        "spans",
        f"SELECT coalesce(node, '') AS node, min(ts) AS ts, max(ts) AS last FROM {all_lines} GROUP BY 1",  # noqa: S608  as above
    )
    log.materialise("runs", _RUNS)


def crashes(log: EventLog) -> AuditCheck:
    """Check that each run stopped before the next one started. The table `overlapping` must exist."""
    found = []
    for node, begun, until, shared, jumped in log.rows(_CRASHES):
        more = ", or two servers have this name" if shared else ""
        more += ", or its line is elsewhere: the clock was set back about then" if jumped else ""
        says = f"started again; the run begun {begun:%Y-%m-%d %H:%M:%S} has no end{more}"
        found.append(Finding(until, node, says, wrong=not (shared or jumped)))
    ((runs, left),) = log.rows(
        "SELECT count(*), count(*) FILTER (stopped IS NULL AND until = 'infinity') FROM runs"
    )
    says = f"of {runs} runs; of {left} the log has no end: still running, or crashed at the end"
    return check_of_findings("crashes", says, found)


def epochs(log: EventLog) -> AuditCheck:
    """Report changed epochs, after which seqs may have been issued again."""
    found = [
        Finding(ts, node, f"the epoch is now {epoch or '?'}: {reason or 'no reason given'}", wrong=True)
        for ts, node, epoch, reason in log.rows(
            "SELECT ts, node, epoch, reason FROM audit_few WHERE event = 'epoch_changed' ORDER BY ALL"
        )
    ]
    return check_of_findings(
        "epoch_changes", "the end of the message log was lost, and perhaps messages with it", found
    )
