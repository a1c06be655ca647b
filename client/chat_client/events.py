"""Events that the client itself makes, beside those of the wire.

They come out of the same iteration, so that one loop sees everything in its order.
"""

from chat_protocol.events import Bye, Event


class Lost(Event, frozen=True, kw_only=True):
    """The connection is gone (or could not be had again); the next try comes in `wait` seconds."""

    message: str
    wait: float
    bye: Bye | None = None


class Back(Event, frozen=True, kw_only=True):
    """There is a connection again, after `seconds` without one, and all that was missed has come before this.

    `resumed`: the session goes on, and `caught_up` messages were missed and have come (of 100 rooms at most;
    what the server no longer has is told as `Gap` and not counted). Otherwise it is a new session: what was
    said meanwhile is in the log only.
    """

    seconds: float
    caught_up: int
    resumed: bool


class Overrun(Event, frozen=True, kw_only=True):
    """The program took events too slowly: `count` old ones were dropped here. `history` has the messages."""

    count: int


class RoundTrip(Event, frozen=True, kw_only=True):
    """A ping of ours was answered after `ms` milliseconds."""

    ms: float
