"""The shape of a message in the log, and its way back into an event."""

from typing import Final

from chat_protocol.events import MessageEvent
from chat_server.core.delivery.batch import QueuedMessage

COLUMNS: Final = "id, room, seq, session, identity, ref, username, text, at, origin"
"""Of the table `log`, in the order of a `Row`."""

INSERT: Final = f"INSERT INTO log ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  names only

Row = tuple[int, int, int, str, int, str | None, str, str, float, str]


def to_row(draft: QueuedMessage, timestamp: float) -> Row:
    """Return the row of a message that has its seq and its place in the log."""
    author = draft.author
    return (
        draft.id,
        draft.room.record.id,
        draft.seq,
        author.id,
        author.identity,
        draft.ref,
        draft.username,
        draft.text,
        timestamp,
        author.origin,
    )


def from_row(row: Row, room: str) -> MessageEvent:
    """Return the event of a row of the log."""
    _, _, seq, session, _, ref, username, text, at, origin = row
    return MessageEvent(
        room=room,
        seq=seq,
        sender=session,
        username=username,
        message=text,
        timestamp=at,
        origin=origin,
        ref=ref,
    )


def text_bytes(row: Row) -> int:
    """Return how many bytes of UTF-8 the message's text has."""
    text = row[7]
    return len(text) if text.isascii() else len(text.encode())
