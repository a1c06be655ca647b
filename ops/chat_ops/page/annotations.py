"""Annotations of the time plots: storms, server starts and stops, store failures."""

from collections.abc import Sequence
from typing import Any, Final

from chat_ops.log.event_log import EventLog
from chat_ops.output.formatting import escape_unprintable
from chat_ops.page.tables import PageTable, unix_millis

MAX_MARKS: Final = 200
"""Maximum number: more would hide the plots."""
_EVENTS: Final = {
    "server_started": "started",
    "server_stopped": "stopped",
    "epoch_changed": "epoch changed",
    "store_failed": "store failed",
}


def time_marks(log: EventLog, tables: Sequence[PageTable]) -> list[dict[str, Any]]:
    """Return the annotations, with Unix times in ms."""
    found: list[dict[str, Any]] = []
    for one in tables:
        if one.id != "storms-storms":
            continue
        for row in one.table.rows[:MAX_MARKS]:
            begin = unix_millis(row[0]) or 0
            found.append(
                {
                    "kind": "storm",
                    "from": begin,
                    "to": begin + round(row[1] * 1000),
                    "text": escape_unprintable(row[2]),
                }
            )
    wanted = ", ".join(f"'{event}'" for event in _EVENTS)
    for ts, event, node in log.rows(
        f"SELECT ts, event, coalesce(node, '') FROM {log.rare_events()} WHERE event IN ({wanted})"  # noqa: S608  ours
        f" ORDER BY ALL LIMIT {MAX_MARKS}"
    ):
        at = unix_millis(ts)
        kind = "trouble" if event == "store_failed" else "run"
        found.append(
            {
                "kind": kind,
                "from": at,
                "to": at,
                "text": f"{escape_unprintable(node)} {_EVENTS[event]}",
                "node": escape_unprintable(node),
            }
        )
    return found
