"""When a resumed session has got all that it missed.

Knows seqs. `welcome` says where the session stands in each room, not how far the room has come, so each room
is asked for its newest message: once that has come too, nothing of the time away is missing. Must not know
sockets.
"""

import itertools
from collections.abc import Callable

from chat_client.connection.session import ClientSession
from chat_protocol.commands import History
from chat_protocol.events import Closed, Event, Gap, HistoryPage, Left, MessageEvent
from chat_protocol.names import fold

MAX_QUERIED_ROOMS = 100
"""Rooms that are asked and waited for; each question counts as a message for the server's limits."""


class CatchUp:
    """What a session still misses; made when it has been welcomed again."""

    def __init__(self, session: ClientSession, new_ref: Callable[[], str]) -> None:
        self._session = session
        views = itertools.islice(session.rooms.values(), MAX_QUERIED_ROOMS)
        self.queries = [History(room=view.room, limit=1, ref=new_ref()) for view in views]
        self._unanswered = {query.ref: fold(query.room) for query in self.queries}
        self._heads: dict[str, int] = {}  # of rooms where more is to come
        self._received_counts = dict.fromkeys(
            self._unanswered.values(), 0
        )  # messages, while more may be to come

    @property
    def complete(self) -> bool:
        """Whether all is here."""
        return not self._unanswered and not self._heads

    @property
    def count(self) -> int:
        """How many messages were missed and have come."""
        return sum(self._received_counts.values())

    def handle_answer(self, event: Event) -> bool:
        """Take the answer to one of our questions; tell whether `event` is one. A refusal is an answer."""
        key = self._unanswered.pop(event.ref, None)
        if key is None:
            return False
        view = self._session.rooms.get(key)
        if isinstance(event, HistoryPage) and view is not None:
            head = event.messages[-1].seq if event.messages else 0
            if view.seq < head:
                self._heads[key] = head
            else:  # those behind the head were said since, and have no gaps
                self._received_counts[key] = max(0, self._received_counts[key] - (view.seq - head))
        return True

    def observe(self, event: Event) -> None:
        """Note an event that the session has taken in."""
        match event:
            case MessageEvent():
                key = fold(event.room)
                if key in self._heads or key in self._unanswered.values():
                    self._received_counts[key] += 1
                self._check_head(key, event.seq)
            case Gap():
                self._check_head(fold(event.room), event.last)
            case Left() | Closed():
                self._heads.pop(fold(event.room), None)
            case _:
                pass

    def _check_head(self, key: str, seq: int) -> None:
        if seq >= self._heads.get(key, seq + 1):
            del self._heads[key]
