"""What the server has told this client: its id and name, its rooms and where it stands in them.

Knows events. Must not know sockets, threads or who waits for what. This is what a resume is made of: the
secret, the epoch and the last seq of each room.
"""

from collections.abc import Iterable

from msgspec import Struct

from chat_protocol.commands import Hello
from chat_protocol.events import (
    Closed,
    Event,
    Joined,
    Left,
    MessageEvent,
    Opened,
    Presence,
    Renamed,
    RoomState,
    Welcome,
)
from chat_protocol.names import fold


class RoomView(Struct):
    """A room as this client sees it; `peer` is the other side of a conversation."""

    room: str
    seq: int
    count: int
    peer: str | None = None


class Session:
    """The state of a session. One thread writes, others may read."""

    def __init__(self, username: str, rooms: Iterable[str], *, resumable: bool, client: str) -> None:
        self.username = username
        self.id = ""
        self.epoch = ""
        self.welcome: Welcome | None = None
        self.rooms: dict[str, RoomView] = {}
        self._first_rooms = list(rooms)
        self._resumable = resumable
        self._client = client

    def hello(self) -> Hello:
        """Return the first command of the next connection."""
        rooms = self._first_rooms
        if self.welcome is not None:
            rooms = [view.room for view in self.rooms.values() if view.peer is None]
        return Hello(username=self.username, rooms=rooms, resumable=self._resumable, client=self._client)

    def welcomed(self, welcome: Welcome) -> None:
        """Begin anew with what `welcome` says."""
        self.welcome = welcome
        self.id = welcome.id
        self.username = welcome.username
        self.epoch = welcome.epoch
        # One assignment: a thread that reads sees the old rooms or the new ones, never half of them.
        self.rooms = {fold(state.room): _view(state) for state in welcome.rooms}

    def saw(self, event: Event) -> None:
        """Take in what `event` changes."""
        match event:
            case MessageEvent():
                view = self.rooms.get(fold(event.room))
                if view is not None and not event.again:
                    view.seq = event.seq
            case Joined():
                self._enter(RoomView(event.room, event.seq, event.count))
            case Opened():
                self._enter(RoomView(event.room, event.seq, 2, event.peer))
            case Left() | Closed():
                self.rooms = {key: view for key, view in self.rooms.items() if key != fold(event.room)}
            case Presence():
                view = self.rooms.get(fold(event.room))
                if view is not None:
                    view.count = event.count
            case Renamed():
                self._renamed(event)
            case _:
                pass

    def room(self, name: str) -> RoomView | None:
        """Return the room of that name if we are in it."""
        return self.rooms.get(fold(name))

    def _enter(self, view: RoomView) -> None:
        self.rooms = self.rooms | {fold(view.room): view}

    def _renamed(self, event: Renamed) -> None:
        if event.sender == self.id:
            self.username = event.username
        for view in self.rooms.values():
            if view.peer is not None and fold(view.peer) == fold(event.old):
                view.peer = event.username


def _view(state: RoomState) -> RoomView:
    return RoomView(state.room, state.seq, state.count, state.peer)
