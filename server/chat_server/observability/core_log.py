"""Writes the lines of the event log that the core's notifications lead to."""

from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.delivery.observer import Observer
from chat_server.core.delivery.room import Room, Session
from chat_server.core.ports.clock import Clock
from chat_server.core.sessions.lagging import Lagging
from chat_server.observability.logged_rooms import logged_room
from chat_server.vocabulary import LogEvent


class CoreLog(Observer):
    """Writes about sessions and failures."""

    def __init__(self, log: FilteringBoundLogger, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def session_opened(self, session: Session, *, resumed: bool) -> None:
        """Log a session that was opened or resumed."""
        self._log.info(
            LogEvent.SESSION_OPENED,
            session_id=session.id,
            username=session.name,
            address=session.link.address,
            dialect=session.encoding.dialect,
            resumed=resumed,
        )

    def session_lagging(self, session: Session, lagging: Lagging[Room]) -> None:
        """Log a session that reads too slowly."""
        self._log.warning(
            LogEvent.READER_LAGGING,
            session_id=session.id,
            username=session.name,
            address=session.link.address,
            behind=lagging.missing_messages(),
            waiting_bytes=session.outbox.queued_bytes,
            duration_s=round(self._clock.monotonic() - lagging.since, 3),
        )

    def session_caught_up(self, session: Session, lagging: Lagging[Room]) -> None:
        """Log that a session which was logged as lagging has caught up."""
        self._log.info(
            LogEvent.READER_CAUGHT_UP,
            session_id=session.id,
            username=session.name,
            address=session.link.address,
            messages=lagging.messages_sent,
            duration_s=round(self._clock.monotonic() - lagging.since, 3),
        )

    def feeding_failed(self, error: str) -> None:
        """Log that lagging sessions cannot be fed, and when they are fed again."""
        if error:
            self._log.error(LogEvent.FEEDING_FAILED, error=error)
        else:
            self._log.warning(LogEvent.FEEDING_RECOVERED)

    def delivery_failed(self, error: Exception) -> None:
        """Log the exception."""
        self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)


class MessageLog(Observer):
    """Writes a line for each message (`--log-messages`)."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def messages_stored(self, messages: Sequence[QueuedMessage]) -> None:
        """Log each stored message, never its text; of a private one neither its author."""
        for message in messages:
            public = not message.room.is_conversation
            self._log.info(
                LogEvent.MESSAGE,
                room=logged_room(message.room.name),
                seq=message.seq,
                session_id=message.author.id if public else None,
                username=message.username if public else None,
                message_bytes=len(message.text.encode()),
            )
