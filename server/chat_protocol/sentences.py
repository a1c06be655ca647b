"""Events as English sentences, for plain text, two-field JSON, the console and the client."""

from chat_protocol import events
from chat_protocol.errors import ByeReason

_BYE_SENTENCES = {
    ByeReason.QUIT: "good-bye",
    ByeReason.SHUTDOWN: "the server is shutting down",
    ByeReason.TIMEOUT: "connection timed out: no answer for too long",
    ByeReason.STALLED: "connection stalled: you read too slowly",
    ByeReason.FRAME_TOO_LARGE: "the frame was too large",
    ByeReason.FLOODING: "rate limit exceeded too often",
    ByeReason.REPLACED: "replaced: the session continues on another connection",
    ByeReason.KICKED: "you were kicked",
    ByeReason.TOO_MANY_CONNECTIONS: "the server is full; try again later",
    ByeReason.HELLO_TIMEOUT: "no hello was received in time",
}


def event_sentences(event: events.Event) -> list[str]:
    """Return the sentences for `event`, one a line; empty for events that are not shown to people."""
    match event:
        case events.Welcome():
            return [_welcome(event)]
        case events.Joined():
            return [f"you are in {event.room} ({counted(event.count, 'user')} here)"]
        case events.Left():
            return [f"you have left {event.room}"]
        case events.Opened():
            return [f"conversation with {event.peer} opened by {event.by}"]
        case events.Closed():
            return [f"conversation with {event.peer} closed by {event.by}"]
        case events.RoomList():
            return _room_list(event)
        case events.UserList():
            return [_user_list(event)]
        case events.ServerList():
            return [
                f"{server.node} at {server.address}: {counted(server.clients, 'client')}"
                for server in event.servers
            ]
        case events.RttReport():
            return [f"{event.username}: last {_format_ms(event.last_ms)}, kernel {_format_ms(event.tcp_ms)}"]
        case events.Renamed():
            return [f"{event.old} is now {event.username}"]
        case events.Presence():
            return _presence(event)
        case events.Error():
            wait = f" (try again in {event.retry_after:g} s)" if event.retry_after else ""
            return [f"{event.message}{wait}"]
        case events.Gap():
            return [_gap(event)]
        case events.Bye():
            return [event.message or _BYE_SENTENCES[event.reason]]
        case events.Notice():
            return event.text.splitlines()
        case _:
            return []


def _welcome(event: events.Welcome) -> str:
    rooms = ", ".join(state.room for state in event.rooms) or "no room"
    return f"welcome, {event.username}; you are in {rooms}"


def counted(count: int, noun: str) -> str:
    """Return `1 message`, `2 messages`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _gap(event: events.Gap) -> str:
    if event.first == event.last:
        return f"message {event.first} of {event.room} is no longer available"
    return f"messages {event.first} to {event.last} of {event.room} are no longer available"


def _format_ms(value: float | None) -> str:
    return "not measured yet" if value is None else f"{value:.1f} ms"


def _room_list(event: events.RoomList) -> list[str]:
    if not event.rooms:
        return ["no rooms"]
    lines = [
        f"{state.room}: {counted(state.count, 'user')}, {counted(state.seq, 'message')}"
        for state in event.rooms
    ]
    return [*lines, "… and more"] if event.more else lines


def _user_list(event: events.UserList) -> str:
    names = ", ".join(map(_format_user, event.users)) or "nobody"
    where = f"in {event.room}" if event.room else "connected"
    return f"{where}: {names}{', … and more' if event.more else ''}"


def _format_user(user: events.User) -> str:
    return f"{user.username} ({format_lag(user.behind)})" if user.behind else user.username


def format_lag(behind: int) -> str:
    """Return `1 message behind`, `1,234 messages behind`."""
    return f"{behind:,} {'message' if behind == 1 else 'messages'} behind"


def _presence(event: events.Presence) -> list[str]:
    lines = []
    if event.joined:
        lines.append(f"{', '.join(event.joined)} joined {event.room} ({counted(event.count, 'user')} here)")
    if event.left:
        lines.append(f"{', '.join(event.left)} left {event.room} ({counted(event.count, 'user')} here)")
    return lines or [f"{counted(event.count, 'user')} in {event.room}"]
