"""The router: a table of all commands, with what each needs and costs, and the dispatch to handlers.

A handler may wait in a port, and raises `Refused` if it rejects the command. Any other exception is an
internal error, which the caller logs.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from chat_protocol import commands
from chat_protocol.dialects.base import Incoming
from chat_protocol.errors import ByeReason, ErrorCode, Fault, Refused
from chat_protocol.events import Error
from chat_server.core.base.rate_limit import Allowance, rounded_up
from chat_server.core.chat.hub import Hub
from chat_server.core.commands import conversations, latency, messages, presence, rooms, sessions
from chat_server.core.commands.charges import FAULT_BYTES, charge_bytes
from chat_server.core.delivery.room import Session
from chat_server.core.identity.permissions import Action, may

QUERY_COMMANDS: Final = (
    commands.History,
    commands.Who,
    commands.Rooms,
    commands.Rtt,
    commands.Servers,
    commands.Ping,
)
"""Commands without any effect but their answer."""

MAX_REFUSALS: Final = 1000
"""Consecutive rejected commands after which a peer is disconnected."""

Handler = Callable[[Hub, Session, Any], None]


class CommandSpec(Struct, frozen=True):
    """The handler of a command, and what the command needs and costs.

    `needs`: the action that must be permitted; in a room the handler asks, which knows the room. `counted`:
    takes a token of the message rate. `metered`: rejected while the byte rate is exceeded. `may_wait`: its
    handler may switch greenlets, in a port; any other MUST NOT.
    """

    handler: Handler
    needs: Action = Action.USE
    counted: bool = True
    metered: bool = True
    may_wait: bool = False


TABLE: Final[dict[type[commands.Command], CommandSpec]] = {
    commands.Message: CommandSpec(messages.message, needs=Action.SEND, may_wait=True),
    commands.Say: CommandSpec(messages.say, needs=Action.CONNECT, may_wait=True),
    commands.Ping: CommandSpec(latency.ping, counted=False),
    commands.Pong: CommandSpec(latency.pong, counted=False, metered=False),
    commands.Hello: CommandSpec(sessions.hello, needs=Action.CONNECT, may_wait=True),
    commands.Arrive: CommandSpec(
        sessions.arrive, needs=Action.CONNECT, counted=False, metered=False, may_wait=True
    ),
    commands.Rename: CommandSpec(sessions.rename, may_wait=True),
    commands.Quit: CommandSpec(
        sessions.quit_session, needs=Action.CONNECT, counted=False, metered=False, may_wait=True
    ),
    commands.Help: CommandSpec(sessions.show_help),
    commands.Join: CommandSpec(rooms.join, needs=Action.JOIN),
    commands.Leave: CommandSpec(rooms.leave, may_wait=True),
    commands.Switch: CommandSpec(rooms.switch, needs=Action.JOIN, may_wait=True),
    commands.Rooms: CommandSpec(rooms.list_rooms),
    commands.History: CommandSpec(rooms.history, needs=Action.READ, may_wait=True),
    commands.Open: CommandSpec(conversations.open_conversation, may_wait=True),
    commands.Close: CommandSpec(conversations.close_conversation, may_wait=True),
    commands.Who: CommandSpec(presence.who, needs=Action.LIST),
    commands.Servers: CommandSpec(presence.servers),
    commands.Rtt: CommandSpec(latency.rtt),
}


class Router:
    """Dispatches commands to their handlers, and answers rejections."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def record_input(self, session: Session, size: int) -> float:
        """Count and charge `size` bytes that were just received from the session.

        Returns the seconds for which no more are to be read from it: its bytes are far above the rate.
        """
        hub = self._hub
        now = hub.clock.monotonic()
        session.read_at = now
        hub.stats.bytes_in += size
        allowance = session.allowance
        if allowance is None or allowance.limits is not hub.limits:
            address = hub.address_allowances.get(session.link.address_key, hub.limits, now)
            session.allowance = allowance = Allowance(hub.limits, now, address)
        if allowance.has_bytes_limit:
            return allowance.charge_bytes(size, now)
        return 0.0

    def dispatch(self, session: Session, incoming: Incoming) -> None:
        """Execute one command, or answer why not. May wait if its handler does."""
        if isinstance(incoming, Fault):
            self._answer_fault(session, incoming)
            return
        spec = TABLE[type(incoming)]
        try:
            if spec.metered and (allowance := session.allowance) is not None:
                wait = allowance.take(session.read_at, counted=spec.counted, first=not session.id)
                if wait:
                    raise _rate_limited(wait)
            if not session.id and (refused := may(session, spec.needs)) is not None:
                raise refused
            spec.handler(self._hub, session, incoming)
            if spec.counted:
                session.refusals = 0
        except Refused as refusal:
            # A ping before the hello is how a client measures several servers, and no error of anybody.
            if session.id or not isinstance(incoming, commands.Ping):
                self._hub.stats.errors[refusal.code] += 1
            self._answer_refusal(session, refusal, incoming.ref)

    def _answer_refusal(self, session: Session, refusal: Refused, ref: str | None) -> None:
        session.send_if_open(
            Error(code=refusal.code, message=refusal.message, ref=ref, retry_after=refusal.retry_after)
        )
        if refusal.code is ErrorCode.RATE_LIMITED:  # no fault of a client that comes back after its time
            if session.allowance is not None and session.allowance.is_flooding(session.read_at):
                session.link.close_with_bye(ByeReason.FLOODING)
            return
        self._count_refusal(session)

    def _answer_fault(self, session: Session, fault: Fault) -> None:
        self._hub.stats.errors[fault.code] += 1
        charge_bytes(session, FAULT_BYTES)
        if fault.close:  # there is no bye: the last line says why it ends
            self._hub.wait_own_delivered(session)
        session.send_if_open(Error(code=fault.code, message=fault.message, ref=fault.ref))
        if fault.bye is not None:
            self._hub.wait_own_delivered(session)  # commands before it were valid, and are acknowledged
            session.link.close_with_bye(fault.bye)
        else:
            self._count_refusal(session)

    def _count_refusal(self, session: Session) -> None:
        session.refusals += 1
        if session.refusals >= MAX_REFUSALS:
            session.link.close_with_bye(ByeReason.FLOODING)


def _rate_limited(wait: float) -> Refused:
    return Refused(ErrorCode.RATE_LIMITED, "rate limit exceeded", retry_after=rounded_up(wait))
