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


class CommandSpec(Struct, frozen=True):
    """What the router knows of a command.

    `named`: the session must have said hello. `counted`: it takes one from the allowance of messages.
    `metered`: it is refused while the allowance of bytes is in debt.
    """

    handler: Handler
    help: str
    named: bool = True
    counted: bool = True
    metered: bool = True


TABLE: Final[dict[type[commands.Command], CommandSpec]] = {
    commands.Message: CommandSpec(messages.message, "say something in a room or to a user"),
    commands.Say: CommandSpec(messages.say, "take a name, say something", named=False),
    commands.Ping: CommandSpec(latency.ping, "ask for a pong", counted=False),
    commands.Pong: CommandSpec(latency.pong, "answer a ping", counted=False, metered=False),
    commands.Hello: CommandSpec(sessions.hello, "open the session under a name", named=False),
    commands.Arrive: CommandSpec(
        sessions.arrive, "come in as a guest", named=False, counted=False, metered=False
    ),
    commands.Rename: CommandSpec(sessions.rename, "take another name"),
    commands.Quit: CommandSpec(
        sessions.quit_session, "end the session", named=False, counted=False, metered=False
    ),
    commands.Help: CommandSpec(sessions.show_help, "say what can be typed"),
    commands.Join: CommandSpec(rooms.join, "enter a room"),
    commands.Leave: CommandSpec(rooms.leave, "leave a room"),
    commands.Switch: CommandSpec(rooms.switch, "go from the current room to another"),
    commands.Rooms: CommandSpec(rooms.list_rooms, "list the rooms"),
    commands.History: CommandSpec(rooms.history, "read what was said"),
    commands.Open: CommandSpec(conversations.open_conversation, "open a conversation"),
    commands.Close: CommandSpec(conversations.close_conversation, "close a conversation"),
    commands.Who: CommandSpec(presence.who, "list the users"),
    commands.Servers: CommandSpec(presence.servers, "list the servers"),
    commands.Rtt: CommandSpec(latency.rtt, "ask for round-trip times"),
}


class Router:
    """Carries out what comes in."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def record_input(self, session: Session, size: int) -> None:
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
            self._answer_fault(session, incoming)
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
            self._answer_refusal(session, refusal, incoming.ref)

    def _answer_refusal(self, session: Session, refusal: Refused, ref: str | None) -> None:
        self._hub.stats.errors[refusal.code] += 1
        session.refusals += 1
        session.send_if_open(
            Error(code=refusal.code, message=refusal.message, ref=ref, retry_after=refusal.retry_after)
        )
        if session.refusals >= MAX_REFUSALS:
            session.link.close_with_bye(ByeReason.FLOODING)

    def _answer_fault(self, session: Session, fault: Fault) -> None:
        self._hub.stats.errors[fault.code] += 1
        session.refusals += 1
        session.send_if_open(Error(code=fault.code, message=fault.message, ref=fault.ref))
        if fault.bye is not None:
            self._hub.wait_own_delivered(session)  # what came before it was good, and is to be acknowledged
            session.link.close_with_bye(fault.bye)
        elif session.refusals >= MAX_REFUSALS:
            session.link.close_with_bye(ByeReason.FLOODING)


def _charge(session: Session, *, counted: bool) -> None:
    """Take a command from the session's allowance, or raise `Refused`."""
    allowance = session.allowance
    if allowance is None:
        return
    now = session.read_at
    wait = 0.0
    if allowance.bytes is not None:
        wait = allowance.bytes.debt_seconds(now)
    if counted and not wait and allowance.messages is not None:
        wait = allowance.messages.take_token(now)
    if wait:
        seconds = math.ceil(wait * 100) / 100  # not a moment too early
        raise Refused(ErrorCode.RATE_LIMITED, "too much, too fast", retry_after=seconds)
