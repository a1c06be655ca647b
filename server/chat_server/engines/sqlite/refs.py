"""The refs of sessions that may be resumed: what recognises, after a restart, a message that comes twice.

Knows the table `refs` of the index file. It is derived: the log has every ref, but no order in which to find
a session's, and must not get one (each message would dirty pages all over the file). Runs in the archive's
thread.
"""

import sqlite3
from typing import Final

from chat_server.engines.sqlite.connect import transaction

REFS_PER_SESSION: Final = 1024
"""Refs of a session that are kept: what the protocol promises to remember."""

PRUNE_STEP_SESSIONS: Final = 512
"""Sessions that one pruning looks at: each may cost a walk over `REFS_PER_SESSION` entries, some 30 µs."""

PRUNE_STEP_REFS: Final = 2000
"""Refs deleted in one pruning: a few milliseconds."""

_INSERT_FROM_LOG: Final = (
    "INSERT OR REPLACE INTO refs SELECT l.session, l.id, l.ref FROM log.log l "
    "WHERE l.id > ? AND l.id <= ? AND l.ref IS NOT NULL AND l.session IN (SELECT id FROM log.sessions) "
    "ORDER BY l.session, l.id"
)

_SELECT_SESSIONS: Final = f"""
    WITH RECURSIVE known (session) AS (
        SELECT min(session) FROM refs WHERE session > ?
        UNION ALL
        SELECT (SELECT min(session) FROM refs WHERE session > known.session)
        FROM known WHERE session IS NOT NULL
        LIMIT {PRUNE_STEP_SESSIONS}
    )
    SELECT
        session,
        session IN (SELECT id FROM log.sessions),
        (SELECT id FROM refs WHERE session = known.session ORDER BY id DESC LIMIT 1 OFFSET {REFS_PER_SESSION})
    FROM known WHERE session IS NOT NULL
"""  # noqa: S608  numbers of ours

_DELETE_REFS: Final = (
    "DELETE FROM refs WHERE session = ? AND id IN "
    "(SELECT id FROM refs WHERE session = ? AND id <= ? ORDER BY id LIMIT ?)"
)

_MAX_ROWID: Final = 2**63 - 1


def index_refs(connection: sqlite3.Connection, after: int, upto: int) -> None:
    """Take in the rows after < id <= upto of the log. Costs a glance if no session can be resumed."""
    (needed,) = connection.execute("SELECT EXISTS (SELECT 1 FROM log.sessions)").fetchone()
    if needed:
        connection.execute(_INSERT_FROM_LOG, (after, upto))


def newest(connection: sqlite3.Connection, session: str, limit: int) -> dict[str, int]:
    """Return the last `limit` refs, oldest first, each with the row that had it last."""
    rows = connection.execute(
        "SELECT ref, id FROM refs WHERE session = ? ORDER BY id DESC LIMIT ?", (session, limit)
    ).fetchall()
    found: dict[str, int] = {}
    for ref, row in rows:
        found.setdefault(ref, row)
    return dict(reversed(found.items()))


def prune(connection: sqlite3.Connection, after: str) -> str:
    """Delete some refs of sessions that are gone, and some of those that newer ones have pushed out.

    Looks at sessions in the order of their ids, from after `after` on; returns where to go on next time.
    """
    sessions = connection.execute(_SELECT_SESSIONS, (after,)).fetchall()
    left = PRUNE_STEP_REFS
    with transaction(connection):
        for session, resumable, surplus in sessions:
            upto = surplus if resumable else _MAX_ROWID
            if upto is not None:
                left -= connection.execute(_DELETE_REFS, (session, session, upto, left)).rowcount
            if left <= 0:
                return after
            after = session
    return after if len(sessions) == PRUNE_STEP_SESSIONS else ""
