"""State of the interactive client: session, views, screen, known names, ignored users.

Two threads use it: one executes inputs (actions.py), one shows events (event_presenter.py). `lock` is held
while something is shown, and MUST NOT be held while waiting for the server.
"""

import threading
from collections.abc import Callable, Iterable

from chat_client.client import Client
from chat_client.errors import ChatError
from chat_client.terminal.conversation_list import View, ViewList
from chat_client.terminal.held_lines import HeldLines
from chat_client.terminal.screen import Screen
from chat_client.text.render import mentions
from chat_protocol.events import MessageEvent
from chat_protocol.names import fold

SHOWN_MESSAGES = 20
"""Shown on entering a room: about a screenful."""

_LARGE_ROOM_MEMBERS = 100  # above it, the server reports no names of those that come and go


class ChatState:
    """The state of the interactive client, and how messages are shown or counted as unread."""

    def __init__(self, client: Client, screen: Screen, refresh: Callable[[], None]) -> None:
        self.client = client
        self.screen = screen
        self.refresh = refresh  # redraws the prompt and the status line
        self.views = ViewList()
        self.held_lines = HeldLines()
        self.lock = threading.RLock()
        self.names: dict[str, str] = {}  # folded name -> displayed name, for completion
        self.rooms: dict[str, str] = {}
        self.ignored: set[str] = set()  # folded names
        self.ignored_ids: set[str] = set()  # their session ids, so that renaming does not help
        self.present: dict[str, set[str]] = {}  # folded room -> folded names that are known to be in it
        self.last_loss = ""  # why there is no connection
        self._entering: tuple[str, list[MessageEvent]] | None = None  # a room, and new messages in it

    def enter(self, room: str, peer: str | None = None) -> None:
        """Make a room current and show its last messages."""
        with self.lock:
            # From here on, new messages of this room are kept back until the older ones are shown.
            self._entering = (fold(room), [])
        past: list[MessageEvent] = []
        try:
            past = self.client.history(room, limit=SHOWN_MESSAGES)
        except ChatError as error:
            self.screen.warn(f"the last messages cannot be shown: {error}")
        with self.lock:
            view = self.views.enter(room, peer)
            self.learn_room(view)
            held = self._entering[1] if self._entering is not None else []
            self._entering = None
            self.screen.notice(self._heading(view))
            self.show_past(view, past)
            view.seq = past[-1].seq if past else view.seq
            for event in held:
                self.present_message(event)
        if peer is None:  # in a thread: nothing waits for it
            threading.Thread(target=self._learn_members, args=(room,), daemon=True).start()
        self.refresh()

    def _learn_members(self, room: str) -> None:
        """Note the members of a room, so that their leaving can be shown; not of a large one."""
        joined = self.client.joined_rooms.get(fold(room))
        if joined is None or joined.count > _LARGE_ROOM_MEMBERS:
            return
        try:
            users = self.client.who(room)
        except ChatError:
            return  # it only decides which leaves are shown
        for user in users:
            self.learn_name(user.username)
        self.present.setdefault(fold(room), set()).update(fold(user.username) for user in users)

    def leave(self, room: str) -> None:
        """Close a view; if it was current, return to the one before it."""
        with self.lock:
            was_current = self.views.drop(room)
            back = self.views.current
        if was_current and back is not None:
            self.enter(back.room, back.peer)
        self.refresh()

    def present_message(self, event: MessageEvent) -> None:
        """Show a message, or count it as unread."""
        with self.lock:
            if self._entering is not None and self._entering[0] == fold(event.room):
                self._entering[1].append(event)
                return
            self._present_now(event)
        self.refresh()

    def show_past(self, view: View, past: Iterable[MessageEvent]) -> None:
        """Show stored messages of the current view; MUST be called with `lock` held."""
        for event in past:
            if not self.is_hidden(event):
                self.screen.write_message(event, place=_privacy_mark(view))

    def learn_name(self, username: str) -> None:
        """Add a name to the completions."""
        self.names[fold(username)] = username

    def learn_room(self, view: View) -> None:
        """Add a public room to the completions."""
        if view.peer is None:
            self.rooms[fold(view.room)] = view.room

    def is_hidden(self, event: MessageEvent) -> bool:
        """Return whether the sender is ignored."""
        if fold(event.username) in self.ignored and event.sender != self.client.id:
            self.ignored_ids.add(event.sender)
        return event.sender in self.ignored_ids

    def _present_now(self, event: MessageEvent) -> None:
        own = event.sender == self.client.id
        peer = None
        if event.room.startswith("@"):
            joined = self.client.joined_rooms.get(fold(event.room))
            peer = joined.peer if joined is not None and joined.peer is not None else event.username
        view = self.views.get(event.room) or self.views.add(event.room, peer)
        if event.seq <= view.seq:
            return  # shown already on entering
        view.seq = event.seq
        if not own:
            self.learn_name(event.username)
            self.present.setdefault(fold(event.room), set()).add(fold(event.username))
        if self.is_hidden(event):
            return
        mentioned = not own and mentions(event.message, self.client.username)
        if view is self.views.current:
            self.screen.write_message(event, place=_privacy_mark(view), mentioned=mentioned)
        else:
            if not own:
                view.unread += 1
                view.mentioned |= mentioned
            if view.peer is not None:
                place = f"(to {view.peer})" if own else "(private)"
                self.screen.write_message(event, place=place, mentioned=mentioned)
            elif mentioned:
                self.screen.write_message(event, place=f"#{event.room}", mentioned=True)
        if mentioned or (view.peer is not None and not own and view is not self.views.current):
            self.screen.ring_bell()

    def _heading(self, view: View) -> str:
        if view.peer is not None:
            return f"conversation with {view.peer}; bye closes it"
        joined = self.client.joined_rooms.get(fold(view.room))
        count = 0 if joined is None else joined.count
        return f"you are in {view.room} ({count} here)"


def _privacy_mark(view: View) -> str:
    """Return the mark of a private message of the current view, which distinguishes it from public ones."""
    return "" if view.peer is None else "(private)"
