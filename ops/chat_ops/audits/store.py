"""Audit checks of the message store: failures, rejected batches, internal errors."""

from typing import Final

from chat_ops.audits.finding import AuditCheck, Finding, check_of_findings
from chat_ops.log.event_log import EventLog

_FAILURES: Final = """
SELECT ts, node, error, after, after_s FROM (
    SELECT *, lead(event) OVER one AS after, lead(duration_s) OVER one AS after_s
    FROM audit_few WHERE event IN ('store_failed', 'store_recovered', 'server_started')
    WINDOW one AS (PARTITION BY node ORDER BY ts, event, duration_s, error)
) WHERE event = 'store_failed' ORDER BY ALL
"""


def checks(log: EventLog) -> list[AuditCheck]:
    """Check store failures, rejected messages and internal errors."""
    return [_failures(log), _refusals(log), _faults(log)]


def _failures(log: EventLog) -> AuditCheck:
    found = []
    for ts, node, error, after, lasted in log.rows(_FAILURES):
        recovered = after == "store_recovered"
        how = f"for {lasted or 0:g} s" if recovered else "and did not recover in this log"
        found.append(Finding(ts, node, f"the store failed {how}: {error or '?'}", wrong=not recovered))
    return check_of_findings("store_failures", "messages accepted meanwhile waited, or were refused", found)


def _refusals(log: EventLog) -> AuditCheck:
    rows = log.rows(
        "SELECT ts, node, coalesce(count, 0), error FROM audit_few WHERE event = 'batch_refused' ORDER BY ALL"
    )
    found = [
        Finding(ts, node, f"{count} messages were refused: {error or '?'}", wrong=True)
        for ts, node, count, error in rows
    ]
    return check_of_findings(
        "messages_refused",
        "messages that could not be stored; none had been acknowledged",
        found,
        sum(count for _, _, count, _ in rows),
    )


def _faults(log: EventLog) -> AuditCheck:
    found = [
        Finding(ts, node, f"{kind or 'error'}: {error or '?'}", room or "", wrong=True)
        for ts, node, kind, error, room in log.rows(
            "SELECT ts, node, error_type, error, room FROM audit_few WHERE event = 'internal_error'"
            " ORDER BY ALL"
        )
    ]
    return check_of_findings("internal_errors", "errors in the server itself", found)
