"""Catch-up after a resume: determines when a session has received all messages that it missed.

`welcome` has the session's position in each room, not the room's head. So each room is queried for its newest
message; once that one has been received, nothing is missing.
"""

import itertools
from collections.abc import Callable

from chat_client.connection.session import ClientSession
from chat_protocol.commands import History
from chat_protocol.events import Closed, Event, Gap, HistoryPage, Left, MessageEvent
from chat_protocol.names import fold

MAX_QUERIED_ROOMS = 100
"""Rooms that are queried and waited for; each query counts as a message for the server's limits."""


class CatchUp:
    """What a resumed session has not yet received; made after the welcome that resumes it."""

    def __init__(self, session: ClientSession, new_ref: Callable[[], str]) -> None:
        self._session = session
        views = itertools.islice(session.rooms.values(), MAX_QUERIED_ROOMS)
        self.queries = [History(room=view.room, limit=1, ref=new_ref()) for view in views]
        self._unanswered = {query.ref: fold(query.room) for query in self.queries}
        self._heads: dict[str, int] = {}  # of rooms with missing messages
        self._received_counts = dict.fromkeys(
            self._unanswered.values(), 0
        )  # messages received while their room was not complete

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self._unanswered and not self._heads

    @property
    def count(self) -> int:
        """Number of missed messages that have been received."""
        return sum(self._received_counts.values())

    def handle_answer(self, event: Event) -> bool:
        """Handle the answer to a query, which may be an error; return whether `event` was one."""
        key = self._unanswered.pop(event.ref, None)
        if key is None:
            return False
        view = self._session.rooms.get(key)
        if isinstance(event, HistoryPage) and view is not None:
            head = event.messages[-1].seq if event.messages else 0
            if view.seq < head:
                self._heads[key] = head
            else:  # those after the head are newer, without gaps
                self._received_counts[key] = max(0, self._received_counts[key] - (view.seq - head))
        return True

    def observe(self, event: Event) -> None:
        """Update for an event that the session has applied."""
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
