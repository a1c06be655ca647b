"""Paged lists: fetches the pages of users, rooms and history. How a command travels is up to `ask`.

A list of thousands takes more than a session may ask for at once: a page after the first one that is refused
for the rate is asked for again at its time. Computes only: `sleep` is the caller's.
"""

from collections.abc import Callable, Iterator

from chat_client.errors import Refused
from chat_protocol import commands
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Event, HistoryPage, MessageEvent, RoomList, RoomState, User, UserList

Ask = Callable[[commands.Command, type[Event]], Event]
"""Sends a command and returns its answer, an event of the given class."""

Sleep = Callable[[float], None]
"""Waits for so many seconds."""

PAGE_MESSAGES = 500
"""Messages per page: the maximum of the protocol."""

MAX_TRIES = 10
"""Of one page; the server accepts it at its time, or at worst one time later."""


def all_users(ask: Ask, sleep: Sleep, room: str | None) -> list[User]:
    """Return the users of a room, or all connected users, by name."""
    users: list[User] = []
    after: str | None = None
    while True:
        page = _ask_again(ask, sleep, commands.Who(room=room, after=after), UserList, first=after is None)
        assert isinstance(page, UserList)
        users += page.users
        if not page.more or not page.users:
            return users
        after = page.after if page.after is not None else page.users[-1].username


def all_rooms(ask: Ask, sleep: Sleep) -> list[RoomState]:
    """Return the public rooms, by name."""
    rooms: list[RoomState] = []
    after: str | None = None
    while True:
        page = _ask_again(ask, sleep, commands.Rooms(after=after), RoomList, first=after is None)
        assert isinstance(page, RoomList)
        rooms += page.rooms
        if not page.more or not page.rooms:
            return rooms
        after = page.after if page.after is not None else page.rooms[-1].room


def newest_messages(ask: Ask, sleep: Sleep, room: str, before: int | None, limit: int) -> list[MessageEvent]:
    """Return the last `limit` messages of a room (before a seq), ascending."""
    messages: list[MessageEvent] = []
    while len(messages) < limit:
        asked = commands.History(room=room, before=before, limit=min(PAGE_MESSAGES, limit - len(messages)))
        page = _ask_again(ask, sleep, asked, HistoryPage, first=not messages)
        assert isinstance(page, HistoryPage)
        messages[:0] = page.messages
        if not page.more or not page.messages:
            break
        before = page.before if page.before is not None else page.messages[0].seq
    return messages


def messages_after(ask: Ask, sleep: Sleep, room: str, after: int) -> Iterator[MessageEvent]:
    """Yield the messages of a room after a seq, ascending, up to the newest; fetched page by page."""
    first = True
    while True:
        asked = commands.History(room=room, after=after, limit=PAGE_MESSAGES)
        page = _ask_again(ask, sleep, asked, HistoryPage, first=first)
        assert isinstance(page, HistoryPage)
        first = False
        yield from page.messages
        if not page.more or not page.messages:
            return
        after = page.after if page.after is not None else page.messages[-1].seq


def _ask_again(
    ask: Ask, sleep: Sleep, command: commands.Command, expects: type[Event], *, first: bool
) -> Event:
    """Return the answer; wait for the time of a refused page, unless it is the first."""
    for _ in range(0 if first else MAX_TRIES - 1):
        try:
            return ask(command, expects)
        except Refused as refused:
            if refused.code is not ErrorCode.RATE_LIMITED or refused.retry_after is None:
                raise
            sleep(refused.retry_after)
    return ask(command, expects)
