"""The kinds of bots that live in the reactor: who talks in rooms, in pairs, reads only, reads too slowly.

Knows what each does with its session. Must not know Locust.
"""

import time
from typing import Final

from chat_protocol.commands import Open
from chat_protocol.dialects.ndjson import encode
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, Opened
from chat_swarm.bots.bot_process import Engine
from chat_swarm.bots.sender import Talker
from chat_swarm.bots.session import Bot
from chat_swarm.bots.slots import PAIR, partner

_SIP_SECONDS: Final = 0.25


class Lurker(Bot):
    """Reads a room and says nothing."""

    __slots__ = ()


class Chatter(Talker):
    """Talks in a room, whether anybody answers or not (an open loop)."""

    __slots__ = ()

    @property
    def rate(self) -> float:
        return self.engine.plan.message_rate

    @property
    def destination(self) -> str:
        return f'"room":"{self.speaks_in}"'

    @property
    def speaks_in(self) -> str:
        return self.engine.room_of(self.seat)

    def ready(self) -> None:
        self.start_saying()


class Direct(Talker):
    """Talks with its partner, with at most a window of messages unacknowledged (a closed loop)."""

    __slots__ = ("_room", "_thinking")

    seat_kind = PAIR

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._room = ""
        self._thinking = False

    @property
    def partner(self) -> str:
        """The username of the other of the pair."""
        return self.engine.name_of(PAIR, partner(self.seat))

    @property
    def rate(self) -> float:
        return self.engine.plan.direct_rate

    @property
    def destination(self) -> str:
        return f'"to":"{self.partner}"'

    @property
    def speaks_in(self) -> str:
        return self._room

    def rooms(self) -> list[str]:
        return []

    def ready(self) -> None:
        if self._room in self.receivers:
            self.start_saying()  # after a cut
        else:
            # Whoever comes second finds the other; the first one's try fails, and `opened` comes to it then.
            self.tell(encode(Open(peer=self.partner)))

    def opened(self, event: Opened) -> None:
        self._room = event.room
        self.start_saying()

    def start_saying(self) -> None:
        if self._room in self.receivers:  # else `opened` begins: there is nobody to talk to yet
            super().start_saying()

    def free(self) -> bool:
        there = self._room in self.receivers
        return there and not self._thinking and len(self.pending) < self.engine.plan.window

    def answered(self) -> None:
        pause = self.engine.plan.think_time.draw(self.random)
        if pause > 0:
            self._thinking = True
            since_ns = time.monotonic_ns()
            self.engine.reactor.after(pause, lambda: self._thought(since_ns))
        else:
            self.say_on()

    def _thought(self, since_ns: int) -> None:
        self._thinking = False
        self.pause(since_ns)
        self.say_on()

    def expected(self, event: Error) -> bool:
        unopened = self._room not in self.receivers and event.ref is None
        return event.code is ErrorCode.NO_SUCH_USER and unopened


class Slow(Bot):
    """Reads a room far too slowly: it takes a few bytes now and then, until the run is at its end."""

    __slots__ = ()

    excused = True
    timed = False
    receive_buffer = 4096  # else the kernel would take megabytes for it, and the server notice nothing

    def ready(self) -> None:
        if self.wire is not None and not self.engine.stopping:
            self.wire.pause()
            self._sip_later(self.serial)  # not now: what came with the welcome is still to be taken

    def stopped(self) -> None:
        if self.wire is not None:
            self.wire.go_on()

    def _sip(self, serial: int) -> None:
        if serial == self.serial and self.up and self.wire is not None and self.wire.paused:
            self.wire.sip(max(1, int(self.engine.plan.slow_rate * _SIP_SECONDS)))
            self._sip_later(serial)

    def _sip_later(self, serial: int) -> None:
        self.engine.reactor.after(_SIP_SECONDS, lambda: self._sip(serial))
