"""A link without a network: for the console.

Knows how to wait in gevent. Must not know sockets or terminals.
"""

from gevent.event import Event

from chat_server.core.ports.link import Signal
from chat_server.core.sessions.detached import Nowhere


class NoNetwork(Nowhere):
    """The half of `core.ports.Link` that needs no connection: a greenlet serves it, and can wait."""

    def wait(self, signal: Signal) -> None:
        """Wait for `signal`."""
        assert isinstance(signal, Event)
        signal.wait()

    def new_signal(self) -> Event:
        """Make a signal to wait for."""
        return Event()
