"""The line at the bottom: what is wrong or the round trip, room, unread counts.

Knows what a desk holds. Must not know the terminal; what comes from others is made harmless here.
"""

from collections.abc import Callable

from chat_client.terminal.state import ChatState
from chat_client.text.sanitize import one_line
from chat_protocol.names import fold


def prompt_text(state: ChatState) -> str:
    """Return what stands before the typed line."""
    view = state.views.current
    return one_line(f"{view.label if view is not None else '(no room)'}> ")


def status_text(state: ChatState, columns: int, cells: Callable[[str], int] = len) -> str:
    """Return the status line: what matters most first; where it is narrow, the least is left out."""
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
        (*trouble, unread),  # the room is in the prompt, too
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
