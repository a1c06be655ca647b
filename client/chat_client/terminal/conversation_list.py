"""The user's open rooms and conversations: which is current, and what is unread in the others."""

from msgspec import Struct

from chat_protocol.names import fold


class View(Struct):
    """An open room, or a conversation with `peer`; `seq` is the last message shown or counted as unread."""

    room: str
    peer: str | None = None
    seq: int = 0
    unread: int = 0
    mentioned: bool = False

    @property
    def label(self) -> str:
        """Its display name: the room, or `@` and the peer's name."""
        return self.room if self.peer is None else f"@{self.peer}"


class ViewList:
    """The open views; the current one is last."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}

    @property
    def current(self) -> View | None:
        """The current view, None if none is open."""
        return next(reversed(self._views.values()), None)

    def get(self, room: str) -> View | None:
        """Return the view of a room, None if it is not open."""
        return self._views.get(fold(room))

    def add(self, room: str, peer: str | None = None) -> View:
        """Return the view of a room; if it is not open, open it without making it current."""
        key = fold(room)
        view = self._views.get(key)
        if view is None:
            view = View(room, peer)
            self._views = {key: view} | self._views
        elif peer is not None:
            view.peer = peer
        return view

    def enter(self, room: str, peer: str | None = None) -> View:
        """Make a view current, open it if necessary, and mark its messages as read."""
        view = self.add(room, peer)
        del self._views[fold(room)]
        self._views[fold(room)] = view
        view.unread = 0
        view.mentioned = False
        return view

    def drop(self, room: str) -> bool:
        """Close a view; return whether it was current."""
        current = self.current
        view = self._views.pop(fold(room), None)
        return view is not None and view is current

    def with_peer(self, username: str) -> View | None:
        """Return the conversation with a user, None if it is not open."""
        key = fold(username)
        return next(
            (view for view in self._views.values() if view.peer is not None and fold(view.peer) == key), None
        )

    def rename_peer(self, old: str, username: str) -> None:
        """Update the conversation with a user that has been renamed."""
        view = self.with_peer(old)
        if view is not None:
            view.peer = username

    def move_to_room(self, view: View, room: str) -> None:
        """Move a view to another room: in a new session, a conversation has another room name."""
        self._views = {fold(room) if one is view else key: one for key, one in self._views.items()}
        view.room = room
        view.seq = 0

    def all_views(self) -> list[View]:
        """Return all views, the current one last."""
        return list(self._views.values())

    def unread_views(self) -> list[View]:
        """Return the views with unread messages: conversations, then rooms with a mention, then by count."""
        unread = [view for view in self._views.values() if view.unread]
        return sorted(unread, key=lambda view: (view.peer is None, not view.mentioned, -view.unread))
