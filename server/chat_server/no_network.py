"""A link without a network: for the console.

Knows how to wait in gevent. Must not know sockets or terminals.
"""

from gevent.event import Event

from chat_server.core.ports import Signal


class NoNetwork:
    """The half of `core.ports.Link` that needs no connection."""

    site = ""

    def may_hello(self) -> float:
        """Return 0: nobody says hello here."""
        return 0.0

    def failed_hello(self) -> None:
        """Do nothing: there is no address to limit."""

    def tcp_rtt_ms(self) -> float | None:
        """Return None: there is no network in between."""
        return None

    def position(self) -> int:
        """Return 0: nothing travels."""
        return 0

    def taken(self) -> int:
        """Return 0: nothing travels."""
        return 0

    def taking(self) -> bool:
        """Return False: nothing ever waits."""
        return False

    def wait(self, signal: Signal) -> None:
        """Wait for `signal`."""
        assert isinstance(signal, Event)
        signal.wait()

    def new_signal(self) -> Event:
        """Make a signal to wait for."""
        return Event()
