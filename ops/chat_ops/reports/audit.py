"""The report `audit`: what the log alone can prove about order, loss and its own completeness.

Knows which checks there are. Must not know how any of them works.
"""

import argparse
from typing import Final

from chat_ops.audits import continuity, order, runs, store, sums
from chat_ops.audits.finding import Check, Verdict
from chat_ops.log.errors import BoundBrokenError
from chat_ops.log.event_log import Log
from chat_ops.table import Column, Table

HELP: Final = "what the log can prove: gaps and repeats of seqs, crashes, failures of the store, lost lines"

_NOTHING: Final = Check("lines", Verdict.UNKNOWN, 0, "no server wrote a line at the times that are asked for")
_FAILING: Final = {
    "wrong": {Verdict.WRONG},
    "notice": {Verdict.WRONG, Verdict.NOTICE},
    "unknown": {Verdict.WRONG, Verdict.NOTICE, Verdict.UNKNOWN},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how much is shown, and what is a failure."""
    parser.add_argument("--top", type=int, default=10, metavar="N", help="findings shown of each check (10)")
    parser.add_argument(
        "--fail-if",
        choices=tuple(_FAILING),
        help="exit code 1 if a check ends so, or worse (notice, unknown)",
    )


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the verdicts and what was found."""
    runs.keep(log)
    checks = _checked(log) if log.rows("SELECT count(*) FROM spans") != [(0,)] else [_NOTHING]
    tables = [_verdicts(checks), _findings(checks, max(args.top, 0))]
    if args.fail_if and any(check.verdict in _FAILING[args.fail_if] for check in checks):
        raise BoundBrokenError(tables)
    return tables


def _checked(log: Log) -> list[Check]:
    continuity.keep(log)
    return [
        *order.checks(log),
        runs.crashes(log),
        runs.epochs(log),
        *store.checks(log),
        *continuity.checks(log),
        sums.check(log),
    ]


def _verdicts(checks: list[Check]) -> Table:
    return Table(
        "audit",
        "What the log proves",
        (
            Column("check", "check", "text"),
            Column("verdict", "verdict", "text", "fine, notice (worth a look), wrong, or cannot tell"),
            Column("count", "count", "count", "Of what the check's name says"),
            Column("says", "what it says", "text"),
        ),
        [(check.name, str(check.verdict), check.count, check.says) for check in checks],
    )


def _findings(checks: list[Check], top: int) -> Table:
    rows = []
    notes = []
    for check in checks:
        worst = sorted(check.findings, key=lambda one: not one.wrong)
        rows += [
            (check.name, "wrong" if one.wrong else "notice", one.at, one.node, one.room or None, one.says)
            for one in worst[:top]
        ]
        if len(worst) > top:
            notes.append(f"{check.name}: {top} of {len(worst)} are shown; --top N shows more")
    return Table(
        "findings",
        "Findings",
        (
            Column("check", "check", "text"),
            Column("verdict", "verdict", "text"),
            Column("time", "time (UTC)", "time"),
            Column("node", "node", "text"),
            Column("room", "room", "text"),
            Column("says", "what", "text"),
        ),
        rows,
        notes,
    )
