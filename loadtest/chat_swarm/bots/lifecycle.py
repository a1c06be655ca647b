"""How a bot is there: it takes its seat, connects, and comes back after a loss, until it is ended.

Knows seats, connections and retries. Must not know frames: a bot greets in `connected` and says good-bye in
`farewell`. All methods run in the reactor's turn and MUST NOT block.
"""

import time
from typing import Final

from chat_swarm.bots.bot_process import NEW, Engine
from chat_swarm.bots.connection import Wire
from chat_swarm.bots.slots import ROOM, Waiting
from chat_swarm.model.plan import CUT_WAIT

_FIRST_RETRY: Final = 0.5
_LAST_RETRY: Final = 10.0


class Lifeline:
    """The connections of one bot, one after the other."""

    __slots__ = (
        "_asked_seconds",
        "_came_ns",
        "_closing",
        "_retry_seconds",
        "_serial",
        "_source",
        "_waiting",
        "begun_ns",
        "engine",
        "lost_ns",
        "name",
        "seat",
        "up",
        "wire",
    )

    receive_buffer = 0
    """Bytes that the kernel takes for it before it has read them; 0: as many as the kernel likes."""
    seat_kind = ROOM
    """What it needs: a place in a room, or in a pair."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = ""
        self.seat = -1
        self.up = False
        """Whether its session stands."""
        self.wire: Wire | None = None
        self.begun_ns = 0
        """When it began to connect, or to greet."""
        self.lost_ns = 0
        """When its last connection was lost; 0: never."""
        self._waiting: Waiting | None = None
        self._closing = False
        self._source: str | None = None
        self._asked_seconds = 0.0  # for which the server has asked to be left alone
        self._retry_seconds = _FIRST_RETRY
        self._serial = 0
        self._came_ns = 0

    def seated(self) -> None:
        """Take note of the seat and the name."""

    def farewell(self) -> None:
        """Say good-bye on a connection that stands."""

    def ended(self) -> None:
        """Let go of what is followed: there will be no more."""

    # What the run asks of every bot.

    def retimed(self) -> None:
        """Follow the engine's rate factor."""

    def stopped(self) -> None:
        """Say nothing more: the run is at its end."""

    def unacknowledged(self) -> int:
        """Return how many of its messages wait for their echo."""
        return 0

    def was_there(self) -> bool:
        """Return whether it has ever had a session."""
        return self.up or self.lost_ns > 0

    def is_new(self) -> bool:
        """Return whether it is on its first way in."""
        return not self.was_there() and self._serial <= 1 and time.time_ns() < self._came_ns + NEW * 10**9

    def reckon(self) -> None:
        """Tell the audit what was never answered: the drain is over."""

    def begin(self) -> None:
        """Start; it lives until `end`."""
        self._came_ns = time.time_ns()
        self.engine.bots.add(self)
        self._waiting = self.engine.seats.wait(self.seat_kind, self._seated)

    def end(self) -> None:
        """Say good-bye, if anybody listens, and be gone."""
        if self._closing:
            return
        self._closing = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self.wire is not None:
            if self.up:
                self.farewell()
            self.wire.close()
            self.wire = None
        self._down()
        self.ended()
        self._give_back()
        if self.seat >= 0:
            self.engine.seats.give_back(self.seat_kind, self.seat)
        self.engine.bots.discard(self)

    def cut(self) -> None:
        """Lose the connection without a word, and come back."""
        if self.wire is None or self._closing:
            return
        self.wire.cut()
        self._gone()
        self._again(self.engine.random.uniform(0, CUT_WAIT))

    def _seated(self, seat: int) -> None:
        self.seat = seat
        self.name = self.engine.name_of(self.seat_kind, seat)
        self.seated()
        self._connect()

    def _connect(self) -> None:
        if self._closing or self.wire is not None:
            return
        engine = self.engine
        self._serial += 1
        self._source = engine.sources.take()
        self.begun_ns = time.time_ns()
        self.wire = Wire(self, engine.reactor, engine.recorder)
        try:
            self.wire.connect(engine.address, self._source, self.receive_buffer)
        except OSError as error:
            self.wire = None
            self._failed(str(error.strerror or error))
            return
        serial = self._serial
        engine.reactor.after(engine.plan.connect_timeout, lambda: self._late(serial))

    def _late(self, serial: int) -> None:
        if serial == self._serial and self.wire is not None and not self.up:
            self.wire.close()
            self._failed(f"no welcome within {self.engine.plan.connect_timeout:g} s")

    def _failed(self, reason: str, *, fault: bool = True) -> None:
        """Try again later: this connection has come to nothing."""
        self.engine.count("connect_failures", int(fault))
        self.engine.error(reason, fault=fault)
        self._gone()
        self._again(self.engine.random.uniform(0.5, 1.0) * self._retry_seconds)
        self._retry_seconds = min(2 * self._retry_seconds, _LAST_RETRY)

    def _again(self, seconds: float) -> None:
        self.engine.reactor.after(self._asked_seconds + seconds, self._connect)
        self._asked_seconds = 0.0

    def _gone(self) -> None:
        self.wire = None
        self._give_back()
        if self.up:
            self.lost_ns = time.time_ns()
            self.engine.count("cuts")
            self._down()

    def _give_back(self) -> None:
        if self._source is not None:
            self.engine.sources.give_back(self._source)
            self._source = None

    def _down(self) -> None:
        if self.up:
            self.up = False
            self.engine.connected -= 1

    def lost(self, reason: str) -> None:
        """Come back."""
        if self._closing:
            return
        if not self.up:
            self._failed(reason)
            return
        self.engine.error(reason)
        self._gone()
        self._again(self.engine.random.uniform(0.1, 1.0) * self._retry_seconds)

    def stands(self) -> None:
        """Take note that the session stands."""
        self.up = True
        self._retry_seconds = _FIRST_RETRY
        self.engine.connected += 1
        self.engine.peak_connected = max(self.engine.peak_connected, self.engine.connected)

    def wait_at_least(self, seconds: float) -> None:
        """Come back no sooner than that: the server has asked for it."""
        self._asked_seconds = max(seconds, self._asked_seconds)

    @property
    def serial(self) -> int:
        """How manieth connection this is: a timer of an old one finds another number, and does nothing."""
        return self._serial

    def give_up(self, reason: str, *, fault: bool = True) -> None:
        """Close a connection that will come to nothing, and try again."""
        if self.wire is not None:
            self.wire.close()
        self._failed(reason, fault=fault)

    def connected(self) -> None:
        """Greet."""
        raise NotImplementedError

    def writable(self) -> None:
        """Send what was held back."""

    def read(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Take what came."""
        raise NotImplementedError
