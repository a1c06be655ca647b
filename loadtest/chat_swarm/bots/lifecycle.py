"""Life of a bot: get a slot, connect, reconnect with backoff after a loss, until it is shut down.

Frames are the subclass's: it logs in from `on_connected` and sends `quit` in `send_quit`. All methods run in
the event loop and MUST NOT block.
"""

import errno
import time
from typing import Final

from chat_swarm.bots.bot_process import FIRST_LOGIN_S, BotProcess
from chat_swarm.bots.connection import BotConnection
from chat_swarm.bots.local_ports import read_local_ports
from chat_swarm.bots.slots import ROOM_SLOT, SlotWaiter
from chat_swarm.model.plan import CUT_RECONNECT_MAX_S

_FIRST_RETRY_S: Final = 0.5
_MAX_RETRY_S: Final = 10.0


class BotLifecycle:
    """A bot without a protocol: one connection at a time, and what the run asks of every bot."""

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
    """Size of the kernel's receive buffer; 0: the kernel's default."""
    slot_kind = ROOM_SLOT
    """The kind of slot that it needs."""

    def __init__(self, process: BotProcess) -> None:
        self.process = process
        self.name = ""
        self.slot = -1
        self.up = False
        """Whether it has a session."""
        self.connection: BotConnection | None = None
        self.attempt_ns = 0
        """Start of the current connect, then of the current `hello`; ns since the epoch."""
        self.lost_ns = 0
        """When its last session lost its connection, ns since the epoch; 0: never."""
        self._slot_waiter: SlotWaiter | None = None
        self._closing = False
        self._source_address: str | None = None
        self._min_wait_s = 0.0  # the server asked to wait that long before reconnecting
        self._retry_s = _FIRST_RETRY_S
        self._generation = 0
        self._started_ns = 0

    def on_slot(self) -> None:
        """Prepare for `slot` and `name`, which are known now, before the first connect."""

    def send_quit(self) -> None:
        """Send `quit`; called only with a session."""

    def on_shut_down(self) -> None:
        """Release what the bot still holds, after its last connection."""

    # The `Bot` protocol (bot_process.py).

    def apply_rate(self) -> None:
        """Apply a changed `BotProcess.rate_factor`."""

    def stop_sending(self) -> None:
        """Send no further message: the run is ending."""

    def count_unacknowledged(self) -> int:
        """Return the number of messages without an echo yet."""
        return 0

    def had_session(self) -> bool:
        """Return whether it has ever had a session."""
        return self.up or self.lost_ns > 0

    def is_first_login_pending(self) -> bool:
        """Return whether its first connection attempt is recent and has not failed."""
        return (
            not self.had_session()
            and self._generation <= 1
            and time.time_ns() < self._started_ns + FIRST_LOGIN_S * 10**9
        )

    def report_unanswered(self) -> None:
        """Report messages without an answer to the audit: the drain is over."""

    def start(self) -> None:
        """Request a slot, then connect; the bot reconnects by itself until `shut_down`."""
        self._started_ns = time.time_ns()
        self.process.bots.add(self)
        self._slot_waiter = self.process.slots.acquire_slot(self.slot_kind, self._take_slot)

    def shut_down(self) -> None:
        """Send `quit` if there is a session, close, release slot and address. A second call does nothing."""
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
        """Reset the connection without a `quit`, then reconnect after a random delay."""
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
            if error.errno == errno.EADDRNOTAVAIL:
                process.warn(
                    f"Connections failed for want of local ports: {read_local_ports().exhausted_sentence}."
                )
            self._retry_after_failure(str(error.strerror or error))
            return
        generation = self._generation
        process.loop.call_later(process.plan.connect_timeout, lambda: self._on_connect_timeout(generation))

    def _on_connect_timeout(self, generation: int) -> None:
        if generation == self._generation and self.connection is not None and not self.up:
            self.connection.close()
            self._retry_after_failure(f"no welcome within {self.process.plan.connect_timeout:g} s")

    def _retry_after_failure(self, reason: str, *, fault: bool = True) -> None:
        """Schedule the next attempt, with backoff: this one got no session."""
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
        """Reconnect: the connection was lost."""
        if self._closing:
            return
        if not self.up:
            self._retry_after_failure(reason)
            return
        self.process.count_error(reason)
        self._drop_connection()
        self._reconnect_after(self.process.random.uniform(0.1, 1.0) * self._retry_s)

    def mark_session_up(self) -> None:
        """Record that the session is established, and reset the backoff."""
        self.up = True
        self._retry_s = _FIRST_RETRY_S
        self.process.connected += 1
        self.process.peak_connected = max(self.process.peak_connected, self.process.connected)

    def delay_reconnect(self, seconds: float) -> None:
        """Wait at least `seconds` before the next attempt: the server asked for it."""
        self._min_wait_s = max(seconds, self._min_wait_s)

    @property
    def generation(self) -> int:
        """Connection generation. Timers of an earlier generation do nothing."""
        return self._generation

    def abandon_attempt(self, reason: str, *, fault: bool = True) -> None:
        """Close a connection that will get no session, and try again later."""
        if self.connection is not None:
            self.connection.close()
        self._retry_after_failure(reason, fault=fault)

    def on_connected(self) -> None:
        """Send `hello` on the established connection."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """Continue to send: the socket buffer has space again."""

    def on_lines(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Handle whole lines; see `ConnectionOwner.on_lines`."""
        raise NotImplementedError
