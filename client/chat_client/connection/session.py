"""What the server has told this client: its id and name, its rooms and where it stands in them.

Knows events. Must not know sockets, threads or who waits for what. This is what a resume is made of: the
secret, the epoch and the last seq of each room.
"""

from collections.abc import Iterable

from msgspec import Struct

from chat_protocol.commands import Hello, Resume
from chat_protocol.events import (
    Closed,
    Event,
    Gap,
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

_RESUME_ROOMS_BYTES = (
    40 * 1024
)  # for rooms in a hello, whose frame has 65,536 and names the public ones twice
_ROOM_OVERHEAD_BYTES = 24  # of a room beside its name: quotes, colon, comma, a seq of up to 2**62


class RoomView(Struct):
    """A room as this client sees it; `peer` is the other side of a conversation."""

    room: str
    seq: int
    count: int
    peer: str | None = None


class ClientSession:
    """The state of a session. One thread writes, others may read."""

    def __init__(
        self,
        username: str,
        rooms: Iterable[str],
        *,
        resumable: bool,
        client: str,
        resume: Resume | None = None,
    ) -> None:
        self.username = username
        self.id = ""
        self.epoch = "" if resume is None else resume.epoch
        self.welcome: Welcome | None = None
        self.rooms: dict[str, RoomView] = {}
        self.resumable = resumable or resume is not None
        self._secret = None if resume is None else resume.session
        self._initial_rooms = list(rooms)
        self._client = client
        self._requested_name: str | None = None  # a name to ask for when there is a connection again
        for room, seq in () if resume is None else resume.rooms.items():
            self._set_room(RoomView(room, seq, 0, "" if room.startswith("@") else None))

    @property
    def resume(self) -> Resume | None:
        """What another connection needs to go on with this session; None if that cannot be."""
        if self._secret is None:
            return None
        seqs: dict[str, int] = {}
        left = _RESUME_ROOMS_BYTES
        for view in sorted(self.rooms.values(), key=lambda view: view.peer is not None):
            left -= len(view.room.encode()) + _ROOM_OVERHEAD_BYTES
            if left < 0:
                break  # conversations come by themselves, from further back than need be
            seqs[view.room] = view.seq
        return Resume(session=self._secret, epoch=self.epoch, rooms=seqs)

    def hello(self) -> Hello:
        """Return the first command of the next connection."""
        rooms = self._initial_rooms
        if self.welcome is not None:
            rooms = [view.room for view in self.rooms.values() if view.peer is None]
        return Hello(
            username=self._requested_name or self.username,
            rooms=rooms,
            resumable=self.resumable,
            resume=self.resume,
            client=self._client,
        )

    def apply_welcome(self, welcome: Welcome) -> None:
        """Go on with what `welcome` says; unless it resumes the session, nothing from before holds."""
        rooms = {fold(state.room): _room_view(state) for state in welcome.rooms}
        if welcome.resumed:
            for key, before in self.rooms.items():
                if key in rooms:
                    rooms[key].seq = max(rooms[key].seq, before.seq)  # what was seen stays seen
                elif welcome.more:  # the list was too long for a frame
                    rooms[key] = before
        if welcome.session is not None or not welcome.resumed:
            self._secret = welcome.session
        if not welcome.resumed:
            self._requested_name = None  # the hello has asked for it
        self.welcome = welcome
        self.id = welcome.id
        self.username = welcome.username
        self.epoch = welcome.epoch
        # One assignment: a thread that reads sees the old rooms or the new ones, never half of them.
        self.rooms = rooms

    def request_name(self, username: str) -> None:
        """Ask for another name with the next connection."""
        self._requested_name = username

    def pop_requested_name(self) -> str | None:
        """Return the name that a resumed session still has to ask for, once."""
        requested, self._requested_name = self._requested_name, None
        return None if requested == self.username else requested

    def apply_event(self, event: Event) -> bool:
        """Take in what `event` changes; tell whether it is news: no message is, the second time."""
        match event:
            case MessageEvent():
                view = self.rooms.get(fold(event.room))
                if view is not None:
                    if event.seq <= view.seq:
                        return False
                    view.seq = event.seq
            case Gap():
                view = self.rooms.get(fold(event.room))
                if view is not None:
                    view.seq = max(view.seq, event.last)
            case Joined():
                self._set_room(RoomView(event.room, event.seq, event.count))
            case Opened():
                self._apply_opened(event)
            case Left() | Closed():
                self.rooms = {key: view for key, view in self.rooms.items() if key != fold(event.room)}
            case Presence():
                view = self.rooms.get(fold(event.room))
                if view is not None:
                    view.count = event.count
            case Renamed():
                self._apply_renamed(event)
            case _:
                pass
        return True

    def find_room(self, name: str) -> RoomView | None:
        """Return the room of that name if we are in it."""
        return self.rooms.get(fold(name))

    def find_conversation(self, username: str) -> RoomView | None:
        """Return the open conversation with a user."""
        key = fold(username)
        return next(
            (view for view in self.rooms.values() if view.peer is not None and fold(view.peer) == key), None
        )

    def _set_room(self, view: RoomView) -> None:
        self.rooms = self.rooms | {fold(view.room): view}

    def _apply_opened(self, event: Opened) -> None:
        known = self.find_room(event.room)
        # Told again after coming back, it must not take us back behind what was seen.
        seq = event.seq if known is None else max(event.seq, known.seq)
        self._set_room(RoomView(event.room, seq, 2, event.peer))

    def _apply_renamed(self, event: Renamed) -> None:
        if event.sender == self.id:
            self.username = event.username
        view = self.find_conversation(event.old)
        if view is not None:
            view.peer = event.username


def _room_view(state: RoomState) -> RoomView:
    return RoomView(state.room, state.seq, state.count, state.peer)
