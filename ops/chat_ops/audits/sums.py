"""Audit check that the interval lines and the session lines of each run add up to the same counts.

Only runs that the log has from `server_started` to `server_stopped` are checked, as open sessions have no
counts. `opened` and `closed` must agree exactly, except for dropped lines. Messages may differ by those that
the store refused (counted by sessions, not by intervals) and by the operator's own (no session line).
"""

from typing import Final

from chat_ops.audits.continuity import IN_CLOCK_JUMP
from chat_ops.audits.finding import AuditCheck, AuditVerdict, Finding, check_of_findings
from chat_ops.log.event_log import EventLog

_SUMS: Final = f"""
WITH whole AS (
    SELECT run, node, begun, stopped FROM runs WHERE started AND stopped IS NOT NULL
), logged AS (
    SELECT r.run, count(*) FILTER (event = 'session_opened') AS opened,
        count(*) FILTER (event = 'session_closed') AS closed, sum(messages_in) AS messages
    FROM (
        SELECT ts, coalesce(node, '') AS node, event, messages_in FROM lines
        WHERE event IN ('session_opened', 'session_closed')
    ) AS s ASOF JOIN runs AS r ON s.node = r.node AND s.ts >= r.begun GROUP BY r.run
), counted AS (
    SELECT r.run, sum(opened) AS opened, sum(list_sum(map_values(closed))) AS closed,
        sum(messages) AS messages,
        count(*) FILTER (event = 'interval') AS intervals,
        sum(count) FILTER (event = 'batch_refused') AS refused,
        sum(count) FILTER (event = 'log_lines_dropped') AS dropped
    FROM (SELECT * FROM audit_few WHERE event IN ('interval', 'batch_refused', 'log_lines_dropped')) AS s
    ASOF JOIN runs AS r ON s.node = r.node AND s.ts >= r.begun GROUP BY r.run
)
SELECT w.node, w.begun, coalesce(c.opened, 0)::BIGINT, coalesce(t.opened, 0)::BIGINT,
    coalesce(c.closed, 0)::BIGINT, coalesce(t.closed, 0)::BIGINT,
    coalesce(c.messages, 0)::BIGINT, coalesce(t.messages, 0)::BIGINT,
    coalesce(c.refused, 0)::BIGINT, coalesce(c.dropped, 0)::BIGINT,
    {IN_CLOCK_JUMP.format(node="w.node", since="w.begun", until="w.stopped")}
FROM whole AS w JOIN counted AS c USING (run) LEFT JOIN logged AS t USING (run)
WHERE c.intervals > 0 AND w.node NOT IN (SELECT node FROM overlapping)
ORDER BY w.begun, w.node
"""  # noqa: S608  ours


def check(log: EventLog) -> AuditCheck:
    """Check the sums of each complete run."""
    if log.filters.users or log.filters.room:
        return AuditCheck(
            "sums",
            AuditVerdict.UNKNOWN,
            None,
            "with a filter by user or room, the sums do not match",
        )
    rows = log.rows(_SUMS)
    if not rows:
        why = "the log has no complete run of a node that is a single server (see overlaps)"
        return AuditCheck("sums", AuditVerdict.UNKNOWN, None, why)
    found = []
    for node, begun, *sums, refused, dropped, jumped in rows:
        clock = ": the clock was set back meanwhile" if jumped else ""
        opened, opened_lines, closed, closed_lines, messages, sent = sums
        for what, counted, lines in (("opened", opened, opened_lines), ("closed", closed, closed_lines)):
            if counted != lines:
                says = f"intervals count {counted} sessions {what}, {lines} lines report one"
                explained = 0 < counted - lines <= dropped
                more = f": {dropped} lines were dropped" if explained else clock
                found.append(Finding(begun, node, says + more, wrong=not (explained or jumped)))
        if sent > messages + refused:
            says = f"sessions sent {sent} messages; intervals count {messages} stored, {refused} refused"
            found.append(Finding(begun, node, says + clock, wrong=not jumped))
        elif messages > sent:
            unclosed = opened > closed or dropped > 0
            more = ": some session has no closing line (the operator has none)" if unclosed else clock
            says = f"intervals count {messages} messages; sessions sent {sent}{more}"
            found.append(Finding(begun, node, says, wrong=not (unclosed or jumped)))
    return check_of_findings("sums", f"of {len(rows)} complete runs, intervals against session lines", found)
