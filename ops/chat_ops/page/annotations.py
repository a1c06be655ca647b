"""What is marked in all plots over time: storms, and starts and stops of servers.

Knows which lines and tables tell of it. Must not know plots.
"""

from collections.abc import Sequence
from typing import Any, Final

from chat_ops.log.event_log import Log
from chat_ops.output.formatting import visible
from chat_ops.page.tables import Shown, millis

MOST: Final = 200
"""More would hide the plots."""
_EVENTS: Final = {
    "server_started": "started",
    "server_stopped": "stopped",
    "epoch_changed": "epoch changed",
    "store_failed": "store failed",
}


def marks(log: Log, tables: Sequence[Shown]) -> list[dict[str, Any]]:
    """Return the marks, in milliseconds since 1970."""
    found: list[dict[str, Any]] = []
    for one in tables:
        if one.id != "storms-storms":
            continue
        for row in one.table.rows[:MOST]:
            begin = millis(row[0]) or 0
            found.append(
                {"kind": "storm", "from": begin, "to": begin + round(row[1] * 1000), "text": visible(row[2])}
            )
    wanted = ", ".join(f"'{event}'" for event in _EVENTS)
    for ts, event, node in log.rows(
        f"SELECT ts, event, coalesce(node, '') FROM {log.few()} WHERE event IN ({wanted})"  # noqa: S608  ours
        f" ORDER BY ALL LIMIT {MOST}"
    ):
        at = millis(ts)
        kind = "trouble" if event == "store_failed" else "run"
        found.append(
            {
                "kind": kind,
                "from": at,
                "to": at,
                "text": f"{visible(node)} {_EVENTS[event]}",
                "node": visible(node),
            }
        )
    return found
