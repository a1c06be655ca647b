"""How a bot is there: it takes its seat, connects, and comes back after a loss, until it is ended.

Knows seats, connections and retries. Must not know frames: a bot greets in `connected` and says good-bye in
`farewell`. All methods run in the reactor's turn and MUST NOT block.
"""

import time
from typing import Final

from chat_swarm.bots.bot_process import FIRST_LOGIN_S, BotProcess
from chat_swarm.bots.connection import BotConnection
from chat_swarm.bots.slots import ROOM_SLOT, SlotWaiter
from chat_swarm.model.plan import CUT_RECONNECT_MAX_S

_FIRST_RETRY_S: Final = 0.5
_MAX_RETRY_S: Final = 10.0


class BotLifecycle:
    """The connections of one bot, one after the other."""

    __slots__ = (
        "_closing",
        "_generation",
        "_min_wait_s",
        "_retry_s",
        "_slot_waiter",
        "_source_address",
        "_started_ns",
        "attempt_ns",
        "connection",
        "lost_ns",
        "name",
        "process",
        "slot",
        "up",
    )

    receive_buffer_bytes = 0
    """Bytes that the kernel takes for it before it has read them; 0: as many as the kernel likes."""
    slot_kind = ROOM_SLOT
    """What it needs: a place in a room, or in a pair."""

    def __init__(self, process: BotProcess) -> None:
        self.process = process
        self.name = ""
        self.slot = -1
        self.up = False
        """Whether its session stands."""
        self.connection: BotConnection | None = None
        self.attempt_ns = 0
        """When it began to connect, or to greet."""
        self.lost_ns = 0
        """When its last connection was lost; 0: never."""
        self._slot_waiter: SlotWaiter | None = None
        self._closing = False
        self._source_address: str | None = None
        self._min_wait_s = 0.0  # for which the server has asked to be left alone
        self._retry_s = _FIRST_RETRY_S
        self._generation = 0
        self._started_ns = 0

    def on_slot(self) -> None:
        """Take note of the seat and the name."""

    def send_quit(self) -> None:
        """Say good-bye on a connection that stands."""

    def on_shut_down(self) -> None:
        """Let go of what is followed: there will be no more."""

    # What the run asks of every bot.

    def apply_rate(self) -> None:
        """Follow the engine's rate factor."""

    def stop_sending(self) -> None:
        """Say nothing more: the run is at its end."""

    def count_unacknowledged(self) -> int:
        """Return how many of its messages wait for their echo."""
        return 0

    def had_session(self) -> bool:
        """Return whether it has ever had a session."""
        return self.up or self.lost_ns > 0

    def is_first_login_pending(self) -> bool:
        """Return whether it is on its first way in."""
        return (
            not self.had_session()
            and self._generation <= 1
            and time.time_ns() < self._started_ns + FIRST_LOGIN_S * 10**9
        )

    def report_unanswered(self) -> None:
        """Tell the audit what was never answered: the drain is over."""

    def start(self) -> None:
        """Start; it lives until `end`."""
        self._started_ns = time.time_ns()
        self.process.bots.add(self)
        self._slot_waiter = self.process.slots.acquire_slot(self.slot_kind, self._take_slot)

    def shut_down(self) -> None:
        """Say good-bye, if anybody listens, and be gone."""
        if self._closing:
            return
        self._closing = True
        if self._slot_waiter is not None:
            self._slot_waiter.cancel()
        if self.connection is not None:
            if self.up:
                self.send_quit()
            self.connection.close()
            self.connection = None
        self._mark_down()
        self.on_shut_down()
        self._release_source_address()
        if self.slot >= 0:
            self.process.slots.release_slot(self.slot_kind, self.slot)
        self.process.bots.discard(self)

    def cut_connection(self) -> None:
        """Lose the connection without a word, and come back."""
        if self.connection is None or self._closing:
            return
        self.connection.reset()
        self._drop_connection()
        self._reconnect_after(self.process.random.uniform(0, CUT_RECONNECT_MAX_S))

    def _take_slot(self, slot: int) -> None:
        self.slot = slot
        self.name = self.process.name_of(self.slot_kind, slot)
        self.on_slot()
        self._connect()

    def _connect(self) -> None:
        if self._closing or self.connection is not None:
            return
        process = self.process
        self._generation += 1
        self._source_address = process.source_addresses.acquire_address()
        self.attempt_ns = time.time_ns()
        self.connection = BotConnection(self, process.loop, process.recorder)
        try:
            self.connection.connect(process.address, self._source_address, self.receive_buffer_bytes)
        except OSError as error:
            self.connection = None
            self._retry_after_failure(str(error.strerror or error))
            return
        generation = self._generation
        process.loop.call_later(process.plan.connect_timeout, lambda: self._on_connect_timeout(generation))

    def _on_connect_timeout(self, generation: int) -> None:
        if generation == self._generation and self.connection is not None and not self.up:
            self.connection.close()
            self._retry_after_failure(f"no welcome within {self.process.plan.connect_timeout:g} s")

    def _retry_after_failure(self, reason: str, *, fault: bool = True) -> None:
        """Try again later: this connection has come to nothing."""
        self.process.count("connect_failures", int(fault))
        self.process.count_error(reason, fault=fault)
        self._drop_connection()
        self._reconnect_after(self.process.random.uniform(0.5, 1.0) * self._retry_s)
        self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)

    def _reconnect_after(self, seconds: float) -> None:
        self.process.loop.call_later(self._min_wait_s + seconds, self._connect)
        self._min_wait_s = 0.0

    def _drop_connection(self) -> None:
        self.connection = None
        self._release_source_address()
        if self.up:
            self.lost_ns = time.time_ns()
            self.process.count("cuts")
            self._mark_down()

    def _release_source_address(self) -> None:
        if self._source_address is not None:
            self.process.source_addresses.release_address(self._source_address)
            self._source_address = None

    def _mark_down(self) -> None:
        if self.up:
            self.up = False
            self.process.connected -= 1

    def on_lost(self, reason: str) -> None:
        """Come back."""
        if self._closing:
            return
        if not self.up:
            self._retry_after_failure(reason)
            return
        self.process.count_error(reason)
        self._drop_connection()
        self._reconnect_after(self.process.random.uniform(0.1, 1.0) * self._retry_s)

    def mark_session_up(self) -> None:
        """Take note that the session stands."""
        self.up = True
        self._retry_s = _FIRST_RETRY_S
        self.process.connected += 1
        self.process.peak_connected = max(self.process.peak_connected, self.process.connected)

    def delay_reconnect(self, seconds: float) -> None:
        """Come back no sooner than that: the server has asked for it."""
        self._min_wait_s = max(seconds, self._min_wait_s)

    @property
    def generation(self) -> int:
        """How manieth connection this is: a timer of an old one finds another number, and does nothing."""
        return self._generation

    def abandon_attempt(self, reason: str, *, fault: bool = True) -> None:
        """Close a connection that will come to nothing, and try again."""
        if self.connection is not None:
            self.connection.close()
        self._retry_after_failure(reason, fault=fault)

    def on_connected(self) -> None:
        """Greet."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """Send what was held back."""

    def on_lines(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Take what came."""
        raise NotImplementedError
