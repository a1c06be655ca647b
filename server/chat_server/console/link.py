"""The console's link: the port `Link` without a network connection."""

from gevent.event import Event

from chat_server.core.ports.link import Signal
from chat_server.core.sessions.detached import DetachedLink


class ConsoleLink(DetachedLink):
    """A link without a connection, whose session is served by a greenlet, so that it can wait."""

    def wait(self, signal: Signal) -> None:
        """Wait for `signal`."""
        assert isinstance(signal, Event)
        signal.wait()

    def new_signal(self) -> Event:
        """Return a new signal for `wait`."""
        return Event()
