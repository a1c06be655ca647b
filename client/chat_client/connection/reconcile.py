"""Reconciliation after an ended session: finds messages that were stored without being acknowledged.

The server does not know the refs of another session, so that resending a stored message would store it twice.
Messages of the old session that are in the log, after its last seq, are not resent.
"""

import itertools
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from chat_client.base import paging
from chat_client.connection.session import ClientSession, RoomView
from chat_client.errors import Refused
from chat_protocol import LOBBY
from chat_protocol.commands import Message
from chat_protocol.events import MessageEvent

MAX_SEARCHED_MESSAGES = 100_000
"""Messages searched per room: unacknowledged ones are close after the last seq that was received."""


def stored_messages(
    ask: paging.Ask, ended: ClientSession, messages: Iterable[Message]
) -> Iterator[MessageEvent]:
    """Yield those of the ended session's `messages` that are in the log, from rooms that are readable."""
    wanted: dict[str, tuple[RoomView, set[str | None]]] = {}
    for message in messages:
        view = ended.find_conversation(message.to) if message.to else ended.find_room(message.room or LOBBY)
        if view is not None:
            wanted.setdefault(view.room, (view, set()))[1].add(message.ref)
    for view, refs in wanted.values():
        found = _own_messages(
            itertools.islice(
                paging.messages_after(ask, time.sleep, view.room, view.seq), MAX_SEARCHED_MESSAGES
            ),
            ended.id,
            refs,
        )
        try:
            yield from itertools.islice(found, len(refs))
        except Refused:
            continue  # not readable in the new session: they are resent


def _own_messages(
    log: Iterable[MessageEvent], sender: str, refs: AbstractSet[str | None]
) -> Iterator[MessageEvent]:
    return (event for event in log if event.sender == sender and event.ref in refs)
