"""What scenarios on the stage have in common: lost connections, resumes, slow readers, conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chat_protocol import commands
from chat_server.core.sessions import detached

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


def cut(peer: Peer) -> None:
    """Lose the connection."""
    peer.outbox.closed = True
    peer.disconnect()


def come_back(stage: Stage, lost: Peer, **positions: int) -> Peer:
    """Return a new connection that has resumed the session; it has received nothing of it yet."""
    peer = stage.connect()
    peer.execute(hello_again(lost, **positions))
    return peer


def hello_again(lost: Peer, **positions: int) -> commands.Hello:
    """Return the hello that resumes a session; `positions`: rooms that its client knows, with their seqs."""
    welcome: dict[str, Any] = next(frame for frame in lost.frames if frame["type"] == "welcome")
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms=positions)
    return commands.Hello(username=welcome["username"], resumable=True, resume=resume)


def acknowledge(*peers: Peer) -> None:
    """Let all that was sent so far arrive."""
    for peer in peers:
        peer.outbox.acked = len(peer.outbox.data)


def stop_reading(peer: Peer) -> None:
    """Read nothing from now on: the first bytes that are sent fill the outbox."""
    peer.outbox.peer_stopped = True
    peer.outbox.limit = 1


def fill_outbox(peer: Peer) -> None:
    """Stop reading, with a full outbox."""
    stop_reading(peer)
    peer.execute(commands.Ping())
    assert peer.outbox.full


def read_again(stage: Stage, peer: Peer) -> None:
    """Read all that is there and all that comes; what was lacking is sent."""
    peer.outbox.peer_stopped = False
    peer.outbox.drain()
    stage.run_backfill()


def open_with(stage: Stage, peer: Peer, other: str) -> None:
    """Open a conversation."""
    peer.execute(commands.Open(peer=other))
    stage.commit()


def close_with(peer: Peer, other: str) -> None:
    """Close a conversation."""
    peer.execute(commands.Close(peer=other))


def send_to(stage: Stage, peer: Peer, other: str) -> None:
    """Send a message to a user; it opens the conversation if need be."""
    peer.send_message(to=other)
    stage.commit()


def expire(stage: Stage) -> None:
    """Let the hold time of all held sessions pass; they are expiring then."""
    stage.clock.advance(301)
    stage.hub.resumable.tick()


def end_expired(stage: Stage) -> None:
    """Let the expiring sessions be removed."""
    stage.commit()
    stage.clock.advance(1)
    stage.hub.resumable.tick()


def say_hi_and_leave(stage: Stage, *names: str, to: str = "ann") -> None:
    """Let strangers come, write to a user, and go."""
    for name in names:
        stranger = stage.enter(name)
        stranger.send_message("hi", to=to)
        stage.commit()
        leave(stranger)


def leave(peer: Peer) -> None:
    """Disconnect, and break the cycle between session and connection, as `net/connection.py` does."""
    session = peer.session
    peer.disconnect()
    session.link, session.outbox = detached.LINK, detached.OUTBOX
    peer.outbox.drained = lambda: None
    del peer.session
