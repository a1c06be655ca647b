"""State of the session at the client: id, name, rooms, and the position in each room.

Updated from events only. A resume consists of the secret, the epoch and the last seq of each room.
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

# Of the rooms in a resume: a frame has 65,536 bytes, and hello contains the public rooms twice.
_RESUME_ROOMS_BYTES = 40 * 1024
_ROOM_OVERHEAD_BYTES = 24  # besides the name: quotes, colon, comma, a seq of up to 2**62


class RoomView(Struct):
    """A joined room: last seq received, members, and the `peer` of a conversation (None: a public room)."""

    room: str
    seq: int
    count: int
    peer: str | None = None


class ClientSession:
    """The state of a session. One thread writes, any thread may read."""

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
        self.epoch = ""
        self.welcome: Welcome | None = None
        self.rooms: dict[str, RoomView] = {}
        self.resumable = resumable or resume is not None
        self.initial_rooms = list(rooms)
        self._secret: str | None = None
        self.program = client
        self._requested_name: str | None = None  # a name to request on the next connection
        if resume is not None:
            self.restore(resume)

    def restore(self, resume: Resume) -> None:
        """Continue a session of another client; called before the first connection."""
        self._secret, self.epoch = resume.session, resume.epoch
        for room, seq in resume.rooms.items():
            self._set_room(RoomView(room, seq, 0, "" if room.startswith("@") else None))

    @property
    def resume(self) -> Resume | None:
        """What another connection needs to resume this session; None if it is not resumable."""
        if self._secret is None:
            return None
        seqs: dict[str, int] = {}
        left = _RESUME_ROOMS_BYTES
        for view in sorted(self.rooms.values(), key=lambda view: view.peer is not None):
            left -= len(view.room.encode()) + _ROOM_OVERHEAD_BYTES
            if left < 0:
                break  # conversations are resumed by the server, with more repeats
            seqs[view.room] = view.seq
        return Resume(session=self._secret, epoch=self.epoch, rooms=seqs)

    def hello(self) -> Hello:
        """Return the `hello` for the next connection."""
        rooms = self.initial_rooms
        if self.welcome is not None:
            rooms = [view.room for view in self.rooms.values() if view.peer is None]
        return Hello(
            username=self._requested_name or self.username,
            rooms=rooms,
            resumable=self.resumable,
            resume=self.resume,
            client=self.program,
        )

    def apply_welcome(self, welcome: Welcome) -> None:
        """Take over the state in `welcome`; unless it resumes the session, the old state is dropped."""
        rooms = {fold(state.room): _room_view(state) for state in welcome.rooms}
        if welcome.resumed:
            for key, before in self.rooms.items():
                if key in rooms:
                    rooms[key].seq = max(rooms[key].seq, before.seq)  # seen messages stay seen
                elif welcome.more:  # the list was too long for a frame
                    rooms[key] = before
        if welcome.session is not None or not welcome.resumed:
            self._secret = welcome.session
        if not welcome.resumed:
            self._requested_name = None  # the hello has requested it
        self.welcome = welcome
        self.id = welcome.id
        self.username = welcome.username
        self.epoch = welcome.epoch
        # One assignment: other threads see the old rooms or the new ones, never a mixture.
        self.rooms = rooms

    def request_name(self, username: str) -> None:
        """Request another name with the next connection."""
        self._requested_name = username

    def pop_requested_name(self) -> str | None:
        """Return and clear the name that a resumed session has to request; None if there is none."""
        requested, self._requested_name = self._requested_name, None
        return None if requested == self.username else requested

    def apply_event(self, event: Event) -> bool:
        """Update the state for `event`; return False for a message that was already received."""
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
        """Return the joined room of that name, None if it is not joined."""
        return self.rooms.get(fold(name))

    def find_conversation(self, username: str) -> RoomView | None:
        """Return the open conversation with a user, None if there is none."""
        key = fold(username)
        return next(
            (view for view in self.rooms.values() if view.peer is not None and fold(view.peer) == key), None
        )

    def _set_room(self, view: RoomView) -> None:
        self.rooms = self.rooms | {fold(view.room): view}

    def _apply_opened(self, event: Opened) -> None:
        known = self.find_room(event.room)
        # When repeated after a resume, it must not set the position back.
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
