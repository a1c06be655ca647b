"""An observer of the core that keeps what it is notified of."""

from collections.abc import Sequence

from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.delivery.observer import Observer
from chat_server.core.delivery.room import Room, Session
from chat_server.core.sessions.lagging import Lagging


class RecordingObserver(Observer):
    """Keeps what the core reports."""

    def __init__(self, stored: list[QueuedMessage]) -> None:
        self.stored = stored
        self.lagging: list[tuple[str, str, int]] = []  # (what, username, messages)
        self.errors: list[Exception] = []
        self.feeding: list[str] = []  # why lagging sessions cannot be fed; empty: they can again

    def messages_stored(self, messages: Sequence[QueuedMessage]) -> None:
        self.stored.extend(messages)

    def session_lagging(self, session: Session, lagging: Lagging[Room]) -> None:
        self.lagging.append(("lagging", session.name, lagging.missing_messages()))

    def session_caught_up(self, session: Session, lagging: Lagging[Room]) -> None:
        self.lagging.append(("caught up", session.name, lagging.messages_sent))

    def feeding_failed(self, error: str) -> None:
        self.feeding.append(error)

    def delivery_failed(self, error: Exception) -> None:
        self.errors.append(error)
