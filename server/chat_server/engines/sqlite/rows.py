"""Rows of the table `log`: their columns, and the events that they become."""

from typing import Final

from chat_protocol.events import MessageEvent

COLUMNS: Final = "id, room, seq, session, identity, ref, username, text, at, origin"
"""Columns of the table `log`, in the order of a `Row`."""

INSERT: Final = f"INSERT INTO log ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  names only

Row = tuple[int, int, int, str, int, str | None, str, str, float, str]


def from_row(row: Row, room: str) -> MessageEvent:
    """Return the event of a log row; `room` is the name of its room."""
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
    """Return the bytes of the message's text in UTF-8."""
    text = row[7]
    return len(text) if text.isascii() else len(text.encode())
