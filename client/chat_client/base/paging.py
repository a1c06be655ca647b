"""Paged lists: fetches the pages of users, rooms and history. How a command travels is up to `ask`."""

from collections.abc import Callable, Iterator

from chat_protocol import commands
from chat_protocol.events import Event, HistoryPage, MessageEvent, RoomList, RoomState, User, UserList

Ask = Callable[[commands.Command, type[Event]], Event]
"""Sends a command and returns its answer, an event of the given class."""

PAGE_MESSAGES = 500
"""Messages per page: the maximum of the protocol."""


def all_users(ask: Ask, room: str | None) -> list[User]:
    """Return the users of a room, or all connected users, by name."""
    users: list[User] = []
    after: str | None = None
    while True:
        page = ask(commands.Who(room=room, after=after), UserList)
        assert isinstance(page, UserList)
        users += page.users
        if not page.more or not page.users:
            return users
        after = page.after if page.after is not None else page.users[-1].username


def all_rooms(ask: Ask) -> list[RoomState]:
    """Return the public rooms, by name."""
    rooms: list[RoomState] = []
    after: str | None = None
    while True:
        page = ask(commands.Rooms(after=after), RoomList)
        assert isinstance(page, RoomList)
        rooms += page.rooms
        if not page.more or not page.rooms:
            return rooms
        after = page.after if page.after is not None else page.rooms[-1].room


def newest_messages(ask: Ask, room: str, before: int | None, limit: int) -> list[MessageEvent]:
    """Return the last `limit` messages of a room (before a seq), ascending."""
    messages: list[MessageEvent] = []
    while len(messages) < limit:
        page = _history_page(
            ask, commands.History(room=room, before=before, limit=min(PAGE_MESSAGES, limit - len(messages)))
        )
        messages[:0] = page.messages
        if not page.more or not page.messages:
            break
        before = page.before if page.before is not None else page.messages[0].seq
    return messages


def messages_after(ask: Ask, room: str, after: int) -> Iterator[MessageEvent]:
    """Yield the messages of a room after a seq, ascending, up to the newest; fetched page by page."""
    while True:
        page = _history_page(ask, commands.History(room=room, after=after, limit=PAGE_MESSAGES))
        yield from page.messages
        if not page.more or not page.messages:
            return
        after = page.after if page.after is not None else page.messages[-1].seq


def _history_page(ask: Ask, command: commands.History) -> HistoryPage:
    page = ask(command, HistoryPage)
    assert isinstance(page, HistoryPage)
    return page
