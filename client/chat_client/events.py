"""Events made by the client itself, in addition to those of the wire.

They are part of the same iteration, so that one loop sees everything in order.
"""

from chat_protocol.events import Bye, Event


class Lost(Event, frozen=True, kw_only=True):
    """The connection is lost, or an attempt to reconnect has failed; the client will try again.

    - `message`: the reason, as a sentence for people.
    - `wait`: seconds until the next attempt.
    - `bye`: the server's `Bye` event, None if the connection ended without one.
    """

    message: str
    wait: float
    bye: Bye | None = None


class Back(Event, frozen=True, kw_only=True):
    """The connection is restored; in a resumed session all missed messages have been delivered before this.

    - `seconds`: time without a connection; 0 if another client had it before.
    - `caught_up`: number of missed messages that were delivered, of at most 100 rooms; 0 in a new session.
      Messages that the server no longer has are reported by a `Gap` and not counted.
    - `resumed`: whether the session was resumed. If False it is a new session, and messages sent by others in
      the meantime are in the log only (`Client.log`).
    """

    seconds: float
    caught_up: int
    resumed: bool


class Overrun(Event, frozen=True, kw_only=True):
    """The program reads events too slowly, and the oldest were dropped; the log has the messages.

    - `count`: number of events dropped.
    """

    count: int


class Unsaved(Event, frozen=True, kw_only=True):
    """The session cannot be kept in the folder `state` of the client; it goes on, but cannot survive a crash.

    Reported once, and again if it fails after it worked.

    - `message`: the reason, as a sentence for people.
    """

    message: str


class RoundTrip(Event, frozen=True, kw_only=True):
    """The answer to a ping of the client, `ms` milliseconds after it was sent."""

    ms: float
