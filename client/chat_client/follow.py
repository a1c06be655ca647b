"""Following a room: its messages without gaps or repeats, across lost connections.

The room is joined first, then the log is read, and messages already seen are dropped from the live events. A
later jump in the seqs is filled from the log in the same way.
"""

import contextlib
from collections.abc import Callable, Iterator

from chat_client.client import Client
from chat_client.errors import ConnectionLost
from chat_client.events import Back, Lost, Overrun
from chat_protocol.events import Event, Gap, MessageEvent, Welcome
from chat_protocol.names import fold


def follow(
    client: Client, room: str, since: int | None = None, notice: Callable[[Event], object] = lambda _: None
) -> Iterator[MessageEvent]:
    """Yield the messages of a room, each once and in order, until the client is closed.

    - `client`: a connected client that has joined the room. Its events are consumed by this iteration.
    - `room`: name of the room.
    - `since`: yield the messages after this seq (default None: new messages only).
    - `notice`: called with each `Lost`, `Back`, `Overrun`, and `Gap` of the room (default: ignore them).

    Raises `ValueError` if the room is not joined, and `ConnectionLost` if the connection is lost for good.
    """
    key = fold(room)
    entered = client.joined_rooms.get(key)
    if entered is None:
        raise ValueError(f"the room {room} has not been joined")
    epoch = client.welcome.epoch
    last = _room_position(client.welcome, key, entered.seq) if since is None else since
    # If reading the log is interrupted, the welcome of the next connection starts it again; without a next
    # connection, the iteration raises.
    if since is not None:
        with contextlib.suppress(ConnectionLost):
            for message in client.log(room, last):
                yield message
                last = message.seq
    first = True  # the first event is the welcome of the current connection
    for event in client:
        match event:
            case MessageEvent() if fold(event.room) == key and event.seq > last:
                try:
                    for message in client.log(room, last) if event.seq > last + 1 else ():
                        yield message
                        last = message.seq
                except ConnectionLost:
                    continue
                if event.seq > last:
                    yield event
                    last = event.seq
            case Welcome() if first:
                first = False
            case Welcome() if event.epoch != epoch:
                # Seqs may have been issued twice: those of the old epoch are meaningless now.
                epoch = event.epoch
                last = _room_position(event, key, 0)
            case Welcome() if event.resumed and last >= _room_position(event, key, last):
                pass  # the server sends the missed messages
            case Welcome() | Overrun():
                if isinstance(event, Overrun):
                    notice(event)
                with contextlib.suppress(ConnectionLost):
                    for message in client.log(room, last):
                        yield message
                        last = message.seq
            case Gap() if fold(event.room) == key:
                last = max(last, event.last)
                notice(event)
            case Lost() | Back():
                notice(event)
            case _:
                pass


def _room_position(welcome: Welcome, key: str, otherwise: int) -> int:
    return next((state.seq for state in welcome.rooms if fold(state.room) == key), otherwise)
