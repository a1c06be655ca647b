"""The line at the bottom: room, unread counts, round trip, and what is wrong.

Knows what a desk holds. Must not know the terminal; what comes from others is made harmless here.
"""

from chat_client.desk import Desk
from chat_client.sanitize import one_line
from chat_protocol.names import fold


def prompt_text(desk: Desk) -> str:
    """Return what stands before the typed line."""
    view = desk.views.current
    return one_line(f"{view.label if view is not None else '(no room)'}> ")


def status_text(desk: Desk) -> str:
    """Return the status line."""
    client = desk.client
    parts = []
    view = desk.views.current
    if view is not None:
        joined = client.joined_rooms.get(fold(view.room))
        here = f" ({joined.count} here)" if joined is not None and view.peer is None else ""
        parts.append(f"{view.label}{here}")
    unread = [
        f"{other.label} {other.unread}{'!' if other.mentioned else ''}" for other in desk.views.unread()
    ]
    if unread:
        parts.append(f"unread: {', '.join(unread)}")
    if not client.connected:
        parts.append("NOT CONNECTED, trying again")
    else:
        last_ms = client.samples.last_ms
        parts.append("RTT ..." if last_ms is None else f"RTT {last_ms:.1f} ms")
    if waiting := len(client.unacknowledged):
        parts.append(f"{waiting} not acknowledged")
    parts.append(f"{client.username} at {client.address}")
    return one_line(" " + " | ".join(parts))
