"""Handlers for round-trip times, measured in both directions."""

from chat_protocol.commands import Ping, Pong, Rtt
from chat_protocol.events import PongEvent, RttReport
from chat_server.core.base.interval_stats import microseconds
from chat_server.core.base.rtt_samples import RttSamples
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.charges import UNCOUNTED_BYTES, answer, charge_bytes
from chat_server.core.delivery.room import Session


def ping(hub: Hub, session: Session, command: Ping) -> None:
    """Answer with `pong`, at once."""
    charge_bytes(session, UNCOUNTED_BYTES)
    session.send(PongEvent(id=command.id, timestamp=hub.clock.time(), ref=command.ref))


def pong(hub: Hub, session: Session, command: Pong) -> None:
    """Record the round trip of the last ping; any `pong` shows that the peer is alive."""
    session.missed_pings = 0
    if not session.ping_id or str(command.id) != session.ping_id:
        charge_bytes(session, UNCOUNTED_BYTES)
        return
    took = session.read_at - session.ping_sent_at
    if took < 0:
        return  # read before the ping was sent: the id was guessed
    session.ping_id = ""
    if session.rtt is None:
        session.rtt = RttSamples()
    session.rtt.record(took * 1000)
    hub.record_rtt(took * 1000)
    tally = hub.stats.rtt
    key = microseconds(took)
    tally[key] = tally.get(key, 0) + 1


def rtt(hub: Hub, session: Session, command: Rtt) -> None:
    """Answer with the round-trip times of a user; default: of the sender."""
    user = session.identity if command.username is None else hub.directory.require_user(command.username)
    heard_last = session if command.username is None else max(user.sessions, key=lambda one: one.read_at)
    samples = heard_last.rtt
    answer(
        session,
        RttReport(
            username=user.name,
            last_ms=samples.last_ms if samples else None,
            min_ms=round(samples.minimum_ms, 3) if samples else None,
            p50_ms=samples.percentile_ms(50) if samples else None,
            p99_ms=samples.percentile_ms(99) if samples else None,
            samples=samples.count if samples else 0,
            tcp_ms=heard_last.link.tcp_rtt_ms(),
            ref=command.ref,
        ),
    )
