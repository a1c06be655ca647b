"""Which messages of an ended session were stored, though their acknowledgement never came.

Knows the log. A new session's refs are new to the server, so a message that goes again would be stored again:
what the log holds of the old session, behind what it had seen, needs no sending. Must not know sockets.
"""

import itertools
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from chat_client.base import paging
from chat_client.connection.session import ClientSession, RoomView
from chat_client.errors import Refused
from chat_protocol import LOBBY
from chat_protocol.commands import Message
from chat_protocol.events import MessageEvent

MAX_SEARCHED_MESSAGES = 100_000
"""Messages of a room that are looked at: what was under way lies close behind what was seen last."""


def stored_messages(
    ask: paging.Ask, ended: ClientSession, messages: Iterable[Message]
) -> Iterator[MessageEvent]:
    """Yield those of the ended session's `messages` that the log has, of rooms that may be read."""
    wanted: dict[str, tuple[RoomView, set[str | None]]] = {}
    for message in messages:
        view = ended.find_conversation(message.to) if message.to else ended.find_room(message.room or LOBBY)
        if view is not None:
            wanted.setdefault(view.room, (view, set()))[1].add(message.ref)
    for view, refs in wanted.values():
        found = _own_messages(
            itertools.islice(paging.messages_after(ask, view.room, view.seq), MAX_SEARCHED_MESSAGES),
            ended.id,
            refs,
        )
        try:
            yield from itertools.islice(found, len(refs))
        except Refused:
            continue  # not readable in the new session: they go again


def _own_messages(
    log: Iterable[MessageEvent], sender: str, refs: AbstractSet[str | None]
) -> Iterator[MessageEvent]:
    return (event for event in log if event.sender == sender and event.ref in refs)
