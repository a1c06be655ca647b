"""Profiles of the bots on the event loop: sends in a room, sends in a pair, only reads, reads slowly."""

import time
from typing import Final

from chat_protocol.commands import Open
from chat_protocol.dialects.ndjson import encode
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, Opened
from chat_swarm.bots.bot_process import BotProcess
from chat_swarm.bots.sender import Sender
from chat_swarm.bots.session import BotSession
from chat_swarm.bots.slots import PAIR_SLOT, partner_slot

_SLOW_READ_INTERVAL_S: Final = 0.25


class Lurker(BotSession):
    """Reads a room and sends nothing."""

    __slots__ = ()


class Chatter(Sender):
    """Sends in a room at a fixed rate, without waiting for answers (open loop)."""

    __slots__ = ()

    @property
    def rate(self) -> float:
        return self.process.plan.message_rate

    @property
    def destination_field(self) -> str:
        return f'"room":"{self.target_room}"'

    @property
    def target_room(self) -> str:
        return self.process.room_of(self.slot)

    def on_session_ready(self) -> None:
        self.start_sending()


class Direct(Sender):
    """Sends to its partner, with at most `window` unacknowledged messages (closed loop)."""

    __slots__ = ("_room", "_thinking")

    slot_kind = PAIR_SLOT

    def __init__(self, process: BotProcess) -> None:
        super().__init__(process)
        self._room = ""
        self._thinking = False

    @property
    def partner_name(self) -> str:
        """The username of the other bot of the pair."""
        return self.process.name_of(PAIR_SLOT, partner_slot(self.slot))

    @property
    def rate(self) -> float:
        return self.process.plan.direct_rate

    @property
    def destination_field(self) -> str:
        return f'"to":"{self.partner_name}"'

    @property
    def target_room(self) -> str:
        return self._room

    def rooms_to_join(self) -> list[str]:
        return []

    def on_session_ready(self) -> None:
        if self._room in self.receivers:
            self.start_sending()  # after a resume
        else:
            # The first bot's `open` fails (no such user); the second one's succeeds, and both get `opened`.
            self.send_frame(encode(Open(peer=self.partner_name)))

    def on_opened(self, event: Opened) -> None:
        self._room = event.room
        self.start_sending()

    def start_sending(self) -> None:
        if self._room in self.receivers:  # else `on_opened` starts: the partner is not there yet
            super().start_sending()

    def can_send(self) -> bool:
        there = self._room in self.receivers
        return there and not self._thinking and len(self.pending) < self.process.plan.window

    def on_answered(self) -> None:
        pause = self.process.plan.think_time.draw(self.random)
        if pause > 0:
            self._thinking = True
            since_ns = time.monotonic_ns()
            self.process.loop.call_later(pause, lambda: self._end_thinking(since_ns))
        else:
            self.send_due()

    def _end_thinking(self, since_ns: int) -> None:
        self._thinking = False
        self.exclude_pause(since_ns)
        self.send_due()

    def is_expected_error(self, event: Error) -> bool:
        unopened = self._room not in self.receivers and event.ref is None
        return event.code is ErrorCode.NO_SUCH_USER and unopened


class Slow(BotSession):
    """Reads a room too slowly: a few bytes at intervals, until the end of the run."""

    __slots__ = ()

    excused = True
    timed = False
    receive_buffer_bytes = 4096  # the default buffers megabytes, and the server would notice nothing

    def on_session_ready(self) -> None:
        if self.connection is not None and not self.process.sending_stopped:
            self.connection.pause_reading()
            self._schedule_read(self.generation)  # not now: lines that came with `welcome` are handled first

    def stop_sending(self) -> None:
        if self.connection is not None:
            self.connection.resume_reading()

    def _read_some(self, generation: int) -> None:
        if (
            generation == self.generation
            and self.up
            and self.connection is not None
            and self.connection.paused
        ):
            self.connection.read_some(max(1, int(self.process.plan.slow_rate * _SLOW_READ_INTERVAL_S)))
            self._schedule_read(generation)

    def _schedule_read(self, generation: int) -> None:
        self.process.loop.call_later(_SLOW_READ_INTERVAL_S, lambda: self._read_some(generation))
