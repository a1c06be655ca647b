"""Refs of resumable sessions, for the detection of duplicate messages after a restart.

They are in the table `refs` of the index file, which is derived: the log has every ref, but no index by
session, and must not get one (each message would then dirty pages all over the file). Runs in the reader
thread.
"""

import sqlite3
from typing import Final

from chat_server.core.ports.log import StoredAt, ref_key
from chat_server.engines.sqlite.connect import transaction
from chat_server.engines.sqlite.damage import is_bad_content

REFS_PER_SESSION: Final = 1024
"""Refs kept per session: as many as the protocol promises to remember."""

PRUNE_STEP_SESSIONS: Final = 512
"""Sessions visited by one pruning: each may cost a scan of `REFS_PER_SESSION` entries, about 30 µs."""

PRUNE_STEP_REFS: Final = 2000
"""Refs deleted by one pruning: a few milliseconds."""

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
"""  # noqa: S608  constants only

_DELETE_REFS: Final = (
    "DELETE FROM refs WHERE session = ? AND id IN "
    "(SELECT id FROM refs WHERE session = ? AND id <= ? ORDER BY id LIMIT ?)"
)

_MAX_ROWID: Final = 2**63 - 1


def index_refs(connection: sqlite3.Connection, after: int, upto: int) -> None:
    """Index the refs of log rows with after < id <= upto. Costs one query if no session is resumable."""
    (needed,) = connection.execute("SELECT EXISTS (SELECT 1 FROM log.sessions)").fetchone()
    if needed:
        connection.execute(_INSERT_FROM_LOG, (after, upto))


def newest(connection: sqlite3.Connection, session: str, limit: int) -> dict[int, StoredAt]:
    """Return the last `limit` refs of a session, oldest first, each with the id of its newest log row.

    An entry is left out if its row of the log is another session's, or has another ref: it is damaged. One
    whose row cannot be read stays: its ref has been used.
    """
    rows = connection.execute(
        "SELECT ref, id FROM refs WHERE session = ? ORDER BY id DESC LIMIT ?", (session, limit)
    ).fetchall()
    rows = [(ref, row) for ref, row in rows if not _is_wrong(connection, session, ref, row)]
    found: dict[int, StoredAt] = {}
    for ref, row in rows:
        found.setdefault(ref_key(ref), row)
    return dict(reversed(found.items()))


def _is_wrong(connection: sqlite3.Connection, session: str, ref: str, row: int) -> bool:
    try:
        found = connection.execute("SELECT session, ref FROM log.log WHERE id = ?", (row,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_bad_content(error):
            raise
        return False
    return found is not None and found != (session, ref)


def prune(connection: sqlite3.Connection, after: str) -> str:
    """Delete a bounded number of refs: those of ended sessions, and those beyond `REFS_PER_SESSION`.

    Visits sessions in the order of their ids, starting after `after`; returns where to continue next time,
    empty for the start.
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
