"""Prompt and status line: connection or round-trip time, room, unread counts. Text of others is sanitized."""

from collections.abc import Callable

from chat_client.terminal.state import ChatState
from chat_client.text.sanitize import one_line
from chat_protocol.names import fold


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
    here = f"{room} ({joined.count} here)" if joined is not None else room
    unread = ", ".join(
        f"{other.label} {other.unread}{'!' if other.mentioned else ''}"
        for other in state.views.unread_views()
    )
    unread = f"unread: {unread}" if unread else ""
    name = state.client.username
    line = ""
    for parts in (
        (*trouble, here, unread, f"{name} at {state.client.address}"),
        (*trouble, here, unread, name),
        (*trouble, room, unread, name),
        (*trouble, room, unread),
        (*trouble, unread),  # the room is also in the prompt
    ):
        line = one_line(" " + " | ".join(part for part in parts if part))
        if cells(line) <= columns:
            break
    return line


def _connection_parts(state: ChatState) -> list[str]:
    client = state.client
    waiting = len(client.unacknowledged)
    last_ms = client.samples.last_ms
    if not client.connected:
        first = "NOT CONNECTED"
    else:
        first = "RTT ..." if last_ms is None else f"RTT {last_ms:.1f} ms"
    return [first, f"{waiting} not acknowledged"] if waiting else [first]
