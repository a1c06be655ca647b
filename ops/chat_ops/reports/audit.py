"""The report `audit`: what the log alone can prove about order, loss and its own completeness."""

import argparse
from typing import Final

from chat_ops.audits import continuity, order, runs, store, sums
from chat_ops.audits.finding import AuditCheck, AuditVerdict
from chat_ops.log.errors import BoundBrokenError, UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.reports import row_limit
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "what the log can prove: gaps and repeats of seqs, crashes, failures of the store, lost lines"

_NO_LINES: Final = AuditCheck(
    "lines", AuditVerdict.UNKNOWN, 0, "no server logged a line in the chosen period"
)
_FAILING: Final = {
    "wrong": {AuditVerdict.WRONG},
    "notice": {AuditVerdict.WRONG, AuditVerdict.NOTICE},
    "unknown": {AuditVerdict.WRONG, AuditVerdict.NOTICE, AuditVerdict.UNKNOWN},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of findings shown, and the failure condition."""
    row_limit.add_top_option(parser, 10, "findings shown of each check")
    parser.add_argument(
        "--fail-if",
        choices=tuple(_FAILING),
        help="exit code 1 if a check has this verdict or a worse one",
    )


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the verdicts and the findings. Raises `BoundBrokenError` by `--fail-if`."""
    continuity.make_clock_table(log)
    runs.make_run_tables(log)
    empty = log.rows("SELECT count(*) FROM spans") == [(0,)]
    if empty and args.fail_if:
        log.require_log_lines()
        if args.fail_if != "unknown":
            raise UsageError(f"nothing to audit: {_NO_LINES.text}")
    checks = [_NO_LINES] if empty else _checked(log)
    tables = [_verdicts(checks), _findings(checks, args.top)]
    if args.fail_if and any(check.verdict in _FAILING[args.fail_if] for check in checks):
        raise BoundBrokenError(tables)
    return tables


def _checked(log: EventLog) -> list[AuditCheck]:
    continuity.make_pause_tables(log)
    return [
        *order.checks(log),
        runs.crashes(log),
        runs.epochs(log),
        *store.checks(log),
        *continuity.checks(log),
        sums.check(log),
    ]


def _verdicts(checks: list[AuditCheck]) -> ReportTable:
    return ReportTable(
        "audit",
        "What the log proves",
        (
            ReportColumn("check", "check", "text"),
            ReportColumn("verdict", "verdict", "text", "fine, notice (worth a look), wrong, or cannot tell"),
            ReportColumn("count", "count", "count", "Findings, or what the check's name says"),
            ReportColumn("says", "explanation", "text"),
        ),
        [(check.name, str(check.verdict), check.count, check.text) for check in checks],
    )


def _findings(checks: list[AuditCheck], top: int) -> ReportTable:
    rows = []
    notes = []
    for check in checks:
        worst = sorted(check.findings, key=lambda one: not one.wrong)
        rows += [
            (check.name, "wrong" if one.wrong else "notice", one.at, one.node, one.room or None, one.text)
            for one in worst[:top]
        ]
        if len(worst) > top:
            notes.append(f"{check.name}: {top} of {len(worst)} are shown; --top N shows more")
    return ReportTable(
        "findings",
        "Findings",
        (
            ReportColumn("check", "check", "text"),
            ReportColumn("verdict", "verdict", "text"),
            ReportColumn("time", "time (UTC)", "time"),
            ReportColumn("node", "node", "text"),
            ReportColumn("room", "room", "text"),
            ReportColumn("says", "what", "text"),
        ),
        rows,
        notes,
    )
