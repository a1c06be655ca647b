"""A room's messages without a hole and without a repeat, whatever happens to the connection meanwhile.

Knows seqs and the log. The live feed is there first, then the log is read, then what was seen already is
dropped from the feed; any later jump in the seqs is filled from the log in the same way.
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
    """Yield the messages of `room`, which the client has joined, after seq `since` (None: from now on).

    `notice` is told what a person should know: Lost, Back, Overrun, Gap. ConnectionLost ends it unless
    the client reconnects.
    """
    key = fold(room)
    entered = client.joined_rooms.get(key)
    if entered is None:
        raise ValueError(f"{room} has not been joined")
    epoch = client.welcome.epoch
    last = _room_position(client.welcome, key, entered.seq) if since is None else since
    # An interrupted reading of the log is no end: the welcome of the next connection starts it again, and
    # without a next connection the iteration raises.
    if since is not None:
        with contextlib.suppress(ConnectionLost):
            for message in client.log(room, last):
                yield message
                last = message.seq
    first = True  # the welcome of the connection that we already have is the first event
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
                # Seqs may have been given out anew: the ones we knew mean nothing now.
                epoch = event.epoch
                last = _room_position(event, key, 0)
            case Welcome() if event.resumed and last >= _room_position(event, key, last):
                pass  # what was missed comes by itself
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
