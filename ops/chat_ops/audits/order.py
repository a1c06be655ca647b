"""Audit checks of message order: gaps, repeats and disorder of each room's seqs in the `message` lines.

Seqs belong to an epoch: a restart continues with the next seq, a changed epoch starts again. A gap is a fault
of the server only if no line can be missing: none was dropped about then, no hole in time is near, and the
server did not crash with lines unwritten.
"""

from typing import Final

from chat_ops.audits.continuity import IN_CLOCK_JUMP
from chat_ops.audits.finding import MAX_FINDINGS, AuditCheck, AuditVerdict, Finding, check_of_findings
from chat_ops.log.event_log import EventLog

_CHECK_NAMES: Final = ("gaps", "repeats", "disorder")
_MESSAGES: Final = """
SELECT m.*, r.run, r.epoch FROM (
    SELECT ts, coalesce(node, '') AS node, room, seq FROM lines
    WHERE event = 'message' AND room IS NOT NULL AND seq IS NOT NULL
) AS m ASOF JOIN runs AS r ON m.node = r.node AND m.ts >= r.begun
"""
_STEPS: Final = """
SELECT * FROM (
    SELECT *, lag(seq) OVER one AS before, lag(ts) OVER one AS before_ts, lag(run) OVER one AS before_run,
        lag(node) OVER one AS before_node
    FROM audit_messages WINDOW one AS (PARTITION BY epoch, room ORDER BY seq, ts, node, run)
) WHERE seq <> before + 1
"""
_GAPS: Final = f"""
SELECT * FROM (SELECT ts, node, room, before, seq, run <> before_run AS restarted,
    CASE WHEN EXISTS (SELECT 1 FROM runs AS r WHERE r.stopped IS NULL AND r.node = s.before_node
            AND r.run >= s.before_run AND r.run < s.run)
        THEN 'the server crashed in between, perhaps with lines unwritten'
    WHEN EXISTS (SELECT 1 FROM audit_few AS d WHERE d.event = 'log_lines_dropped' AND d.node = s.node
            AND d.ts >= s.before_ts AND d.ts < s.ts + INTERVAL 1 MINUTE)
        THEN 'log lines were dropped about then'
    WHEN {IN_CLOCK_JUMP.format(node="s.node", since="s.before_ts", until="s.ts")}
        THEN 'the clock was set back about then'
    WHEN EXISTS (SELECT 1 FROM holes AS h WHERE h.node = s.node AND h.begun < s.ts AND h.ended > s.before_ts)
        THEN 'the log has a hole there' END AS why
FROM audit_steps AS s WHERE seq > before + 1)
ORDER BY why IS NOT NULL, ts, node, room, seq, before, restarted, why
"""  # noqa: S608  ours
_REPEATS: Final = """
SELECT ts, node, room, seq, before_ts, ts = before_ts AS same FROM audit_steps WHERE seq = before
ORDER BY same, ts, node, room, seq, before_ts
"""
_DISORDER: Final = f"""
SELECT ts, node, room, seq, before FROM (
    SELECT *, lag(seq) OVER one AS before, lag(ts) OVER one AS before_ts FROM audit_messages
    WINDOW one AS (PARTITION BY epoch, room, node ORDER BY ts, seq)
) AS m WHERE seq < before AND {{}} {IN_CLOCK_JUMP.format(node="m.node", since="m.before_ts", until="m.ts")}
ORDER BY ALL
"""  # noqa: S608  ours


def checks(log: EventLog) -> list[AuditCheck]:
    """Check gaps, repeats and order. The tables `holes` and `runs` must exist."""
    if log.filters.users:
        return _unknown("the messages of one user do not show the order of a room")
    log.materialise("audit_messages", _MESSAGES)
    ((messages, rooms),) = log.rows("SELECT count(*), count(DISTINCT (epoch, room)) FROM audit_messages")
    if not messages:
        return _unknown("the log has no line per message: run the server with --log-messages to check order")
    log.materialise("audit_steps", _STEPS)
    among = f"among {messages} messages in {rooms} rooms"
    return [_gaps(log, among), _repeats(log, among), _disorder(log, among)]


def _unknown(why: str) -> list[AuditCheck]:
    return [AuditCheck(name, AuditVerdict.UNKNOWN, None, why) for name in _CHECK_NAMES]


def _gaps(log: EventLog, among: str) -> AuditCheck:
    ((gaps, missing),) = log.rows(
        "SELECT count(*), coalesce(sum(seq - before - 1), 0)::BIGINT FROM audit_steps WHERE seq > before + 1"
    )
    found = []
    for ts, node, room, before, seq, restarted, why in log.rows(f"{_GAPS} LIMIT {MAX_FINDINGS}"):
        where = " across a restart" if restarted else ""
        says = f"after {before} comes {seq}{where}{': ' + why if why else ''}"
        found.append(Finding(ts, node, says, room or "", wrong=why is None))
    return check_of_findings("gaps", f"{among}, {missing} seqs have no line", found, gaps)


def _repeats(log: EventLog, among: str) -> AuditCheck:
    found = [
        Finding(ts, node, f"{seq} occurs twice with the same time: is a file given twice?", room or "")
        if same
        else Finding(
            ts,
            node,
            f"{seq} was issued twice: first at {before:%Y-%m-%d %H:%M:%S.%f}",
            room or "",
            wrong=True,
        )
        for ts, node, room, seq, before, same in log.rows(f"{_REPEATS} LIMIT {MAX_FINDINGS}")
    ]
    ((repeats,),) = log.rows("SELECT count(*) FROM audit_steps WHERE seq = before")
    return check_of_findings("repeats", f"{among}, seqs that have more than one line", found, repeats)


def _disorder(log: EventLog, among: str) -> AuditCheck:
    found = [
        Finding(ts, node, f"{seq} comes after {before}", room or "", wrong=True)
        for ts, node, room, seq, before in log.rows(f"{_DISORDER.format('NOT')} LIMIT {MAX_FINDINGS}")
    ]
    ((explained,),) = log.rows(f"SELECT count(*) FROM ({_DISORDER.format('')})")  # noqa: S608  as above
    more = f"; {explained} not counted, as the clock was set back (see clock_back)" if explained else ""
    says = f"{among}, those whose seq is below the one before in time{more}"
    return check_of_findings("disorder", says, found)
