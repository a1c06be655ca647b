"""Steps of a client's connections: hello and resume, and all that a network can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.plays.client import encode
from support.plays.commands import BAD_NAMES, BAD_ROOMS, ROOMS, any_name, frame
from support.plays.table import Turn, open_link, some, step

if TYPE_CHECKING:
    from random import Random

    from support.plays.client import Client
    from support.plays.connection import Connection
    from support.plays.play import Play


@step(9)
def come(turn: Turn) -> str | None:
    """Connect, and say hello, or resume; an old connection is given up, and the server does not know it."""
    if turn.client.link is not None and not turn.client.link.closed and turn.rng.random() < 0.85:
        return None
    link = turn.play.connect(turn.client)
    draw = turn.rng.random()
    if draw < 0.15:
        link.prompt = False
    elif draw < 0.25:
        link.outbox.reading, link.outbox.space = False, turn.rng.choice((0, 300, 2000))
    link.tcp_known = turn.rng.random() < 0.95
    data = hello(turn.play, turn.client, turn.rng)
    link.feed(data)
    return f"{turn.client} > {link.number} {data.decode('utf-8', 'backslashreplace').rstrip()}"


@step(1)
def claim_twice(turn: Turn) -> str | None:
    """Resume on two connections at once."""
    if turn.client.dialect != "ndjson" or not turn.client.secret:
        return None
    done = []
    for _ in range(2):
        link = turn.play.connect(turn.client)
        data = resume(turn.play, turn.client, turn.rng)
        link.feed(data)
        done.append(f"{link.number} {data.decode().rstrip()}")
    return f"{turn.client} > {' and '.join(done)}"


@step(1)
def hello_again(turn: Turn) -> str | None:
    """Say hello on a connection that may be named already, or under a name that cannot be had."""
    link = open_link(turn.client)
    if link is None or turn.client.dialect != "ndjson":
        return None
    draw = turn.rng.random()
    if draw < 0.3 and turn.client.secret:
        data = resume(turn.play, turn.client, turn.rng)
    elif draw < 0.6:
        data = frame("hello", turn.rng, username=turn.rng.choice(BAD_NAMES))
    else:
        rooms = [turn.rng.choice((*ROOMS, *BAD_ROOMS)) for _ in range(turn.rng.randrange(6))]
        data = frame("hello", turn.rng, username=any_name(turn.rng), rooms=rooms)
    link.feed(data)
    return f"{turn.client} > {link.number} {data.decode().rstrip()}"


def hello(play: Play, client: Client, rng: Random) -> bytes:
    """Return the first bytes of a connection in the client's dialect."""
    if client.dialect == "simple":
        return encode({"username": client.favourite, "message": rng.choice(("", "hi"))})
    if client.dialect == "text":
        return rng.choice((b"hi\n", b"/nick %s\n" % client.favourite.encode(), b"/who\n"))
    if client.secret and rng.random() < 0.93:
        return resume(play, client, rng)
    name = client.favourite if rng.random() < 0.93 else any_name(rng)
    rooms = some(rng, (None, 2), ([], 0.5), (list(ROOMS[:2]), 3), (["den", "Lobby", "lobby"], 1))
    if rng.random() < 0.04:
        rooms = [rng.choice(BAD_ROOMS), "lobby", "new\u0435r", "p\u0430p", "\u0440\u0430\u0440", "pap"]
    resumable = True if client.resumable and rng.random() < 0.95 else None
    return frame("hello", rng, username=name, rooms=rooms, resumable=resumable)


def resume(play: Play, client: Client, rng: Random) -> bytes:
    """Return a hello that resumes: mostly with what the client knows, sometimes with something else."""
    secret, epoch, rooms = client.secret, client.epoch, dict(client.positions)
    if rng.random() < 0.3:
        for room in list(rooms):
            draw = rng.random()
            if draw < 0.15:
                del rooms[room]
            elif draw < 0.35:
                rooms[room] = max(0, rooms[room] - rng.choice((1, 2, 5)))
            elif draw < 0.45:
                rooms[room] += rng.choice((1, 100))
    draw = rng.random()
    if draw < 0.08:
        rooms[rng.choice((*BAD_ROOMS, "newroom", "newr00m", "Den", "LOBBY"))] = rng.randrange(4)
    elif draw < 0.12:
        rooms = {}
    elif draw < 0.16 and client.conversations:
        rooms[rng.choice(list(client.conversations))] = rng.randrange(5)
    draw = rng.random()
    if draw < 0.02:
        epoch = "of another run"
    elif draw < 0.03:
        epoch = ""
    elif draw < 0.045:
        secret = "wrong"
    elif draw < 0.055:
        secret = rng.choice([one.secret for one in play.clients]) or secret
    wanted: dict[str, Any] = {"session": secret, "epoch": epoch, "rooms": rooms}
    name = client.favourite if rng.random() < 0.95 else any_name(rng)
    return frame("hello", rng, username=name, rooms=rng.choice((None, ["lobby"])), resume=wanted)


@step(6)
def cut(turn: Turn) -> str | None:
    """Lose the connection, with any part of the bytes in flight; the server notices at once, or later."""
    link = turn.client.link
    if link is None:
        return None
    _lose(turn.client, link, turn.rng)
    turn.client.detach()
    noticed = some(turn.rng, ("reset", 5), ("end", 2), ("nothing", 2))
    if noticed == "nothing":
        link.outbox.reading, link.outbox.space = False, turn.rng.choice((0, 0, 1000))
        turn.client.ghosts.append(link)
    else:
        _end(link, noticed)
    return f"cut {turn.client} {link.number}: {noticed} noticed, {link.acked} acknowledged"


def _lose(client: Client, link: Connection, rng: Random) -> None:
    """Let some of the bytes arrive, and the server learn of some of these."""
    sent = link.outbox.sent
    arrived = link.acked + int((sent - link.acked) * some(rng, (1.0, 2), (0.0, 2), (rng.random(), 2)))
    if rng.random() < 0.05:
        link.acked = max(link.acked, some(rng, (sent, 1), (0, 1)))
    client.read(arrived)
    link.acked += int((max(arrived, link.acked) - link.acked) * some(rng, (1.0, 2), (0.0, 1)))
    link.prompt = False


def _end(link: Connection, noticed: str) -> None:
    if noticed == "reset":
        link.outbox.discard()
    link.feed(None)


@step(1.5)
def end_ghost(turn: Turn) -> str | None:
    """Let the server notice that a connection is gone."""
    if not turn.client.ghosts:
        return None
    link = turn.client.ghosts.pop(turn.rng.randrange(len(turn.client.ghosts)))
    noticed = turn.rng.choice(("reset", "end"))
    _end(link, noticed)
    return f"end {link.number}: {noticed}"


@step(0.8)
def shut(turn: Turn) -> str | None:
    """End the client's side of the stream in order, and read on."""
    link = open_link(turn.client)
    if link is None:
        return None
    link.feed(None)
    return f"{turn.client} shuts {link.number}"


@step(0.4)
def start_again(turn: Turn) -> str | None:
    """Let the client forget its session."""
    if turn.client.link is not None:
        return None
    turn.client.forget()
    return f"{turn.client} forgets all"


@step(4)
def stop_reading(turn: Turn) -> str | None:
    link = open_link(turn.client)
    if link is None or not link.outbox.reading:
        return None
    link.outbox.reading, link.outbox.space = False, some(turn.rng, (0, 3), (200, 1), (1500, 1))
    return f"{turn.client} stops reading {link.number}"


@step(4)
def read_some(turn: Turn) -> str | None:
    """Take a part of what is queued, and nothing more."""
    link = turn.client.link
    if link is None or link.outbox.reading:
        return None
    size = some(turn.rng, (link.outbox.queued_bytes, 3), (link.outbox.queued_bytes // 2, 1), (100, 1))
    link.outbox.take(size)
    link.acked = max(link.acked, link.outbox.sent if turn.rng.random() < 0.7 else link.acked)
    turn.client.read(link.acked)
    return f"{turn.client} reads {size} of {link.number}"


@step(3)
def read_on(turn: Turn) -> str | None:
    link = turn.client.link
    if link is None or (link.outbox.reading and link.prompt):
        return None
    link.outbox.reading = link.prompt = True
    link.outbox.take(link.outbox.queued_bytes)
    return f"{turn.client} reads {link.number} on"


@step(2)
def delay_acknowledgements(turn: Turn) -> str | None:
    link = open_link(turn.client)
    if link is None or not link.prompt:
        return None
    link.prompt = False
    return f"{turn.client} acknowledges nothing of {link.number}"


@step(2)
def acknowledge(turn: Turn) -> str | None:
    """Let a part of what was sent arrive."""
    link = turn.client.link
    if link is None or link.prompt:
        return None
    link.acked += int((link.outbox.sent - link.acked) * some(turn.rng, (1.0, 2), (0.5, 1)))
    turn.client.read(link.acked)
    return f"{turn.client} acknowledges {link.acked} of {link.number}"
