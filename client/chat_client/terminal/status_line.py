"""Prompt and status line: connection or round-trip time, room, unread counts. Text of others is sanitized."""

from collections.abc import Callable, Iterable
from typing import Final

from chat_client.terminal.state import ChatState
from chat_client.text.sanitize import one_line
from chat_protocol.names import fold

SILENT_AFTER_S: Final = 3.0
"""Seconds without an answer to a ping after which the last round-trip time and counts are no longer shown."""


def prompt_text(state: ChatState) -> str:
    """Return the prompt: the current room or conversation."""
    view = state.views.current
    return one_line(f"{view.label if view is not None else '(no room)'}> ")


def status_text(state: ChatState, columns: int, cells: Callable[[str], int] = len) -> str:
    """Return the status line, most important parts first; the others are omitted if it is too narrow."""
    trouble = _connection_parts(state)
    view = state.views.current
    room = view.label if view is not None else ""
    joined = (
        state.client.joined_rooms.get(fold(view.room)) if view is not None and view.peer is None else None
    )
    counted = joined is not None and state.client.connected and not _is_silent(state)
    here = f"{room} ({joined.count} here)" if joined is not None and counted else room
    entries = [
        f"{other.label} {other.unread}{'!' if other.mentioned else ''}"
        for other in state.views.unread_views()
    ]
    unread = f"unread: {', '.join(entries)}" if entries else ""
    name = state.client.username
    line = ""
    for parts in (
        (*trouble, here, unread, f"{name} at {state.client.address}"),
        (*trouble, here, unread, name),
        (*trouble, room, unread, name),
        (*trouble, room, unread),
        (*trouble, unread),  # the room is also in the prompt
    ):
        line = _join(parts)
        if cells(line) <= columns:
            return line
    for shown in range(len(entries) - 1, -1, -1):
        first = ", ".join(entries[:shown])
        line = _join((*trouble, f"unread: {first}{', ' if first else ''}+{len(entries) - shown} more"))
        if cells(line) <= columns:
            return line
    return _join(trouble)


def _join(parts: Iterable[str]) -> str:
    return one_line(" " + " | ".join(part for part in parts if part))


def _is_silent(state: ChatState) -> bool:
    return state.client.unanswered_s >= SILENT_AFTER_S


def _connection_parts(state: ChatState) -> list[str]:
    client = state.client
    waiting = len(client.unacknowledged)
    last_ms = client.samples.last_ms
    if not client.connected:
        first = "NOT CONNECTED"
    elif _is_silent(state):
        first = f"no answer for {state.client.unanswered_s:.0f} s"
    else:
        first = "RTT ..." if last_ms is None else f"RTT {last_ms:.1f} ms"
    return [first, f"{waiting} not acknowledged"] if waiting else [first]
