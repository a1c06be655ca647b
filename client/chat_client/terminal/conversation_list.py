"""Which rooms and conversations a person has open, which one is in front, and what is unread in the others.

Knows names, seqs and counts. Must not know sockets or terminals.
"""

from msgspec import Struct

from chat_protocol.names import fold


class View(Struct):
    """A room or conversation (`peer`); `seq` is the last message that arrived in it."""

    room: str
    peer: str | None = None
    seq: int = 0
    unread: int = 0
    mentioned: bool = False

    @property
    def label(self) -> str:
        """What to call it: the room, or `@` and the other's name."""
        return self.room if self.peer is None else f"@{self.peer}"


class ViewList:
    """The open views, the one in front last."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}

    @property
    def current(self) -> View | None:
        """The view in front."""
        return next(reversed(self._views.values()), None)

    def get(self, room: str) -> View | None:
        """Return the view of a room, if it is open."""
        return self._views.get(fold(room))

    def add(self, room: str, peer: str | None = None) -> View:
        """Open a view behind the others, unless it is open already."""
        key = fold(room)
        view = self._views.get(key)
        if view is None:
            view = View(room, peer)
            self._views = {key: view} | self._views
        elif peer is not None:
            view.peer = peer
        return view

    def enter(self, room: str, peer: str | None = None) -> View:
        """Put a view in front; all in it counts as read."""
        view = self.add(room, peer)
        del self._views[fold(room)]
        self._views[fold(room)] = view
        view.unread = 0
        view.mentioned = False
        return view

    def drop(self, room: str) -> bool:
        """Close a view; tell whether it was in front."""
        current = self.current
        view = self._views.pop(fold(room), None)
        return view is not None and view is current

    def with_peer(self, username: str) -> View | None:
        """Return the conversation with a user, if it is open."""
        key = fold(username)
        return next(
            (view for view in self._views.values() if view.peer is not None and fold(view.peer) == key), None
        )

    def rename_peer(self, old: str, username: str) -> None:
        """Follow a peer's new name."""
        view = self.with_peer(old)
        if view is not None:
            view.peer = username

    def move_to_room(self, view: View, room: str) -> None:
        """Let a view go on in another room: after a new session a conversation has a new name."""
        self._views = {fold(room) if one is view else key: one for key, one in self._views.items()}
        view.room = room
        view.seq = 0

    def all_views(self) -> list[View]:
        """Return all views, the one in front last."""
        return list(self._views.values())

    def unread_views(self) -> list[View]:
        """Return the views with unread messages, those with the most recent attention last."""
        return [view for view in self._views.values() if view.unread]
