"""Round-trip times, measured both ways."""

from chat_protocol.commands import Ping, Pong, Rtt
from chat_protocol.events import PongEvent, RttReport
from chat_server.core.base.interval_stats import microseconds
from chat_server.core.base.rtt_samples import RttSamples
from chat_server.core.chat.hub import Hub
from chat_server.core.sessions.session import Session


def ping(hub: Hub, session: Session, command: Ping) -> None:
    """Answer at once."""
    session.send(PongEvent(id=command.id, timestamp=hub.clock.time(), ref=command.ref))


def pong(hub: Hub, session: Session, command: Pong) -> None:
    """Take the answer to the last ping as a sample; a late or foreign one only shows that the peer lives."""
    session.unanswered = 0
    if not session.ping_id or str(command.id) != session.ping_id:
        return
    took = session.read_at - session.ping_at
    if took < 0:
        return  # it was here before the ping went out: a guess
    session.ping_id = ""
    if session.rtt is None:
        session.rtt = RttSamples()
    session.rtt.add(took * 1000)
    hub.measured(took * 1000)
    tally = hub.stats.rtt
    key = microseconds(took)
    tally[key] = tally.get(key, 0) + 1


def rtt(hub: Hub, session: Session, command: Rtt) -> None:
    """Report the round-trip times of a user, one's own by default."""
    user = session if command.username is None else hub.names.user(command.username)
    samples = user.rtt
    session.send(
        RttReport(
            username=user.name,
            last_ms=samples.last if samples else None,
            min_ms=round(samples.minimum, 3) if samples else None,
            p50_ms=samples.percentile(50) if samples else None,
            p99_ms=samples.percentile(99) if samples else None,
            samples=samples.count if samples else 0,
            tcp_ms=user.link.tcp_rtt_ms(),
            ref=command.ref,
        )
    )
