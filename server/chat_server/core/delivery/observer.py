"""What the core reports to the outside: to a log, metrics, bots. Observers change nothing in the core.

It lives beside the delivery, and not among the ports, because it is about sessions and messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chat_server.core.delivery.batch import QueuedMessage
    from chat_server.core.delivery.room import Room, Session
    from chat_server.core.sessions.lagging import Lagging


class Observer:
    """Does nothing: a subclass overrides what it is interested in.

    MUST NOT switch greenlets. Called once for a session or a batch, never for a message or a delivery.
    """

    def session_opened(self, session: Session, *, resumed: bool) -> None:
        """Note a session that has been sent its welcome."""

    def session_lagging(self, session: Session, lagging: Lagging[Room]) -> None:
        """Note a session that has been lagging for a while."""

    def session_caught_up(self, session: Session, lagging: Lagging[Room]) -> None:
        """Note that a session which was reported as lagging is live in all its rooms."""

    def feeding_failed(self, error: str) -> None:
        """Note that lagging sessions cannot be fed from the store, and why; empty: it works again."""

    def messages_stored(self, messages: Sequence[QueuedMessage]) -> None:
        """Note the messages of a commit, after their delivery."""

    def delivery_failed(self, error: Exception) -> None:
        """Note what a recipient, or another observer, has raised."""


class Observers(Observer):
    """Several observers. What one of them raises is reported to all, and stops nobody else."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self.want_messages: Final = any(
            type(observer).messages_stored is not Observer.messages_stored for observer in observers
        )
        """Whether `messages_stored` has any effect: most servers save that call for each commit."""

    def session_opened(self, session: Session, *, resumed: bool) -> None:
        """Notify all."""
        self._notify(lambda observer: observer.session_opened(session, resumed=resumed))

    def session_lagging(self, session: Session, lagging: Lagging[Room]) -> None:
        """Notify all."""
        self._notify(lambda observer: observer.session_lagging(session, lagging))

    def session_caught_up(self, session: Session, lagging: Lagging[Room]) -> None:
        """Notify all."""
        self._notify(lambda observer: observer.session_caught_up(session, lagging))

    def feeding_failed(self, error: str) -> None:
        """Notify all."""
        self._notify(lambda observer: observer.feeding_failed(error))

    def messages_stored(self, messages: Sequence[QueuedMessage]) -> None:
        """Notify all."""
        self._notify(lambda observer: observer.messages_stored(messages))

    def delivery_failed(self, error: Exception) -> None:
        """Notify all. What this raises is a bug that nobody is left to report to: it is not caught."""
        for observer in self._observers:
            observer.delivery_failed(error)

    def _notify(self, notify: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                notify(observer)
            except Exception as error:  # noqa: BLE001  an observer's bug must not stop a delivery
                self.delivery_failed(error)
