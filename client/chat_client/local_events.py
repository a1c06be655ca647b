"""Events that the client itself makes, beside those of the wire.

They come out of the same iteration, so that one loop sees everything in its order.
"""

from chat_protocol.events import Bye, Event


class Lost(Event, frozen=True, kw_only=True):
    """The connection is gone (or could not be had again); the next try comes in `wait` seconds."""

    message: str
    wait: float
    bye: Bye | None = None


class Overrun(Event, frozen=True, kw_only=True):
    """The program took events too slowly: `count` old ones were dropped here. `history` has the messages."""

    count: int


class RoundTrip(Event, frozen=True, kw_only=True):
    """A ping of ours was answered after `ms` milliseconds."""

    ms: float
