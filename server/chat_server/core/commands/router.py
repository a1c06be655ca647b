"""From command to handler: one table that says what each command does, needs and costs.

Knows which commands there are. Must not know what they do (core/commands). A handler may wait in a port, and
raises `Refused` for what it will not do; anything else that escapes it is our error, and the caller's to log.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from chat_protocol import commands
from chat_protocol.dialects.base import Incoming
from chat_protocol.errors import ByeReason, ErrorCode, Fault, Refused
from chat_protocol.events import Error
from chat_server.core.base.rate_limit import Allowance
from chat_server.core.chat.hub import Hub
from chat_server.core.commands import conversations, latency, messages, presence, rooms, sessions
from chat_server.core.sessions.session import Session

MAX_REFUSALS: Final = 1000
"""Refused commands in a row after which a peer that does not listen is sent away."""

Handler = Callable[[Hub, Session, Any], None]


class Spec(Struct, frozen=True):
    """What the router knows of a command.

    `named`: the session must have said hello. `counted`: it takes one from the allowance of messages.
    `metered`: it is refused while the allowance of bytes is in debt.
    """

    handler: Handler
    help: str
    named: bool = True
    counted: bool = True
    metered: bool = True


TABLE: Final[dict[type[commands.Command], Spec]] = {
    commands.Message: Spec(messages.message, "say something in a room or to a user"),
    commands.Say: Spec(messages.say, "take a name, say something", named=False),
    commands.Ping: Spec(latency.ping, "ask for a pong", counted=False),
    commands.Pong: Spec(latency.pong, "answer a ping", counted=False, metered=False),
    commands.Hello: Spec(sessions.hello, "open the session under a name", named=False),
    commands.Arrive: Spec(sessions.arrive, "come in as a guest", named=False, counted=False, metered=False),
    commands.Rename: Spec(sessions.rename, "take another name"),
    commands.Quit: Spec(
        sessions.leave_for_good, "end the session", named=False, counted=False, metered=False
    ),
    commands.Help: Spec(sessions.explain, "say what can be typed"),
    commands.Join: Spec(rooms.join, "enter a room"),
    commands.Leave: Spec(rooms.leave, "leave a room"),
    commands.Switch: Spec(rooms.switch, "go from the current room to another"),
    commands.Rooms: Spec(rooms.list_rooms, "list the rooms"),
    commands.History: Spec(rooms.history, "read what was said"),
    commands.Open: Spec(conversations.open_conversation, "open a conversation"),
    commands.Close: Spec(conversations.close_conversation, "close a conversation"),
    commands.Who: Spec(presence.who, "list the users"),
    commands.Servers: Spec(presence.servers, "list the servers"),
    commands.Rtt: Spec(latency.rtt, "ask for round-trip times"),
}


class Router:
    """Carries out what comes in."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def accept(self, session: Session, size: int) -> None:
        """Note that `size` bytes have come from the session, now."""
        hub = self._hub
        now = hub.clock.monotonic()
        session.read_at = now
        hub.stats.bytes_in += size
        allowance = session.allowance
        if allowance is None or allowance.limits is not hub.limits:
            session.allowance = allowance = Allowance(hub.limits, now)
        if allowance.bytes is not None:
            allowance.bytes.charge(size, now)

    def dispatch(self, session: Session, incoming: Incoming) -> None:
        """Carry out one command, or answer what is wrong with it. May wait where its handler does."""
        if isinstance(incoming, Fault):
            self._fault(session, incoming)
            return
        spec = TABLE[type(incoming)]
        try:
            if spec.named and not session.id:
                raise Refused(ErrorCode.HELLO_FIRST, "say hello first: say who you are")  # noqa: TRY301
            if spec.metered:
                _charge(session, counted=spec.counted)
            spec.handler(self._hub, session, incoming)
            if spec.counted:
                session.refusals = 0
        except Refused as refusal:
            self._refuse(session, refusal, incoming.ref)

    def _refuse(self, session: Session, refusal: Refused, ref: str | None) -> None:
        self._hub.stats.errors[refusal.code] += 1
        session.refusals += 1
        session.answer(
            Error(code=refusal.code, message=refusal.message, ref=ref, retry_after=refusal.retry_after)
        )
        if session.refusals >= MAX_REFUSALS:
            session.link.end(ByeReason.FLOODING)

    def _fault(self, session: Session, fault: Fault) -> None:
        self._hub.stats.errors[fault.code] += 1
        session.refusals += 1
        session.answer(Error(code=fault.code, message=fault.message, ref=fault.ref))
        if fault.bye is not None:
            self._hub.settle(session)  # what came before it was good, and is to be acknowledged
            session.link.end(fault.bye)
        elif session.refusals >= MAX_REFUSALS:
            session.link.end(ByeReason.FLOODING)


def _charge(session: Session, *, counted: bool) -> None:
    """Take a command from the session's allowance, or raise `Refused`."""
    allowance = session.allowance
    if allowance is None:
        return
    now = session.read_at
    wait = 0.0
    if allowance.bytes is not None:
        wait = allowance.bytes.debt(now)
    if counted and not wait and allowance.messages is not None:
        wait = allowance.messages.take(now)
    if wait:
        seconds = math.ceil(wait * 100) / 100  # not a moment too early
        raise Refused(ErrorCode.RATE_LIMITED, "too much, too fast", retry_after=seconds)
