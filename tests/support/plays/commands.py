"""Steps of a client that has a connection: what it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.plays.client import NAMES, encode
from support.plays.table import Turn, open_link, some, step

if TYPE_CHECKING:
    from random import Random

    from support.plays.client import Client
    from support.plays.play import Play

ROOMS = ("lobby", "Garden", "den", "cop")
ALIKE = ("cop", "\u0441\u043e\u0440", "c0p", "\u0441\u043e\u0440.")
"""Two of them in Cyrillic letters: only one of the first two can be had at a time."""
BAD_NAMES = ("", "an n", "server", "guest-abcd", "x" * 40, "b\u043eb", "ANN", "an\u200bn", *ALIKE)
BAD_ROOMS = ("", "no room", "gard\u0435n", "x" * 40, "1obby", "@ann,bob", "@nobody", *ALIKE)
GARBAGE = (
    b"garbage\n",
    b'{"type":"noise","ref":"n"}\n',
    b'{"type":"message"}\n',
    b'{"type":"join","room":7}\n',
    b"[]\n",
    b"{\n",
    b"\xff\xfe\n",
    b'{"type":"pong","id":1e400}\n',
)


def send(client: Client, data: bytes) -> str | None:
    """Send bytes as the client; None if it has no connection."""
    link = open_link(client)
    if link is None:
        return None
    link.feed(data)
    return f"{client} > {link.number} {data.decode('utf-8', 'backslashreplace').rstrip()}"


def frame(kind: str, rng: Random | None = None, **fields: Any) -> bytes:
    """Return a command as a line of NDJSON, sometimes with a ref; fields that are None are left out."""
    if rng is not None and rng.random() < 0.5:
        fields["ref"] = f"c{rng.randrange(100)}"
    return encode({"type": kind} | {name: one for name, one in fields.items() if one is not None}) + b"\n"


def any_name(rng: Random) -> str:
    return rng.choice(NAMES) if rng.random() < 0.9 else rng.choice(BAD_NAMES)


def any_room(client: Client, rng: Random) -> str:
    """Return the name of a room: often one that the client is in."""
    draw = rng.random()
    if draw < 0.5 and client.positions:
        return rng.choice(list(client.positions))
    if draw < 0.6 and client.conversations:
        return rng.choice(list(client.conversations))
    return rng.choice(ROOMS) if draw < 0.95 else rng.choice(BAD_ROOMS)


def other_name(play: Play, client: Client, rng: Random) -> str:
    """Return a name for a conversation: that of another client most of the time."""
    if client.peers and rng.random() < 0.3:
        return rng.choice(list(client.peers.values())) or "ann"
    others = [one.favourite for one in play.clients if one is not client]
    return rng.choice(others) if others and rng.random() < 0.95 else any_name(rng)


def text(play: Play, rng: Random) -> str:
    """Return a text that does not occur twice, of any length."""
    play.texts += 1
    draw = rng.random()
    if draw < 0.02:
        return rng.choice(("", "bell\a", "x" * 9000))
    if draw < 0.1:
        return f"two\nlines {play.texts} é"
    return f"text {play.texts} " + "x" * rng.choice((0, 0, 40, 150, 400))


def message(play: Play, client: Client, rng: Random, room: str | None, to: str | None) -> bytes:
    """Return a message in the client's dialect, mostly with a ref, which may be one of an earlier message."""
    if client.dialect == "simple":
        name = client.favourite if rng.random() < 0.95 else any_name(rng)
        return encode({"username": name, "message": text(play, rng)})
    if client.dialect == "text":
        plain = text(play, rng).replace("\n", " ")
        return (plain if to is None else f"/msg {to} {plain}").encode() + b"\n"
    draw = rng.random()
    if client.refs and draw < 0.12:
        return rng.choice(client.refs)[1]  # sent again
    if client.refs and draw < 0.18:
        return frame("message", message=text(play, rng), room=room, to=to, ref=rng.choice(client.refs)[0])
    if draw < 0.3:
        return frame("message", message=text(play, rng), room=room, to=to)
    ref = f"r{play.texts}"
    data = frame("message", message=text(play, rng), room=room, to=to, ref=ref)
    client.refs = [*client.refs[-5:], (ref, data)]
    return data


@step(10)
def say(turn: Turn) -> str | None:
    room = any_room(turn.client, turn.rng) if turn.rng.random() < 0.8 else None
    return send(turn.client, message(turn.play, turn.client, turn.rng, room, None))


@step(10)
def direct(turn: Turn) -> str | None:
    room = "lobby" if turn.rng.random() < 0.02 else None
    return send(
        turn.client,
        message(turn.play, turn.client, turn.rng, room, other_name(turn.play, turn.client, turn.rng)),
    )


@step(3)
def burst(turn: Turn) -> str | None:
    """Send several commands at once, so that the later ones meet the earlier ones in the queue."""
    count = some(turn.rng, (2, 3), (3, 2), (6, 1), (14, 0.3))
    to = other_name(turn.play, turn.client, turn.rng)
    room = any_room(turn.client, turn.rng)
    parts = []
    for _ in range(count):
        kind = turn.rng.choice(("room", "to", "open", "close", "leave", "join", "rename"))
        if turn.client.dialect != "ndjson" or kind in {"room", "to"}:
            own = kind != "to"
            parts.append(
                message(turn.play, turn.client, turn.rng, room if own else None, None if own else to)
            )
        else:
            parts.append(_command(turn.client, turn.rng, kind, room, to))
    if turn.rng.random() < 0.1:
        parts.append(_quit(turn.client))
    return send(turn.client, b"".join(parts))


def _command(client: Client, rng: Random, kind: str, room: str, to: str) -> bytes:
    if kind in {"open", "close"}:
        return frame(kind, rng, **{"with": to})
    if kind == "rename":
        return frame(kind, rng, username=rng.choice((client.favourite, client.favourite + "2")))
    return frame(kind, rng, room=room)


@step(5)
def open_conversation(turn: Turn) -> str | None:
    if turn.client.dialect != "ndjson":
        return None
    to = (
        turn.client.name or "ann"
        if turn.rng.random() < 0.04
        else other_name(turn.play, turn.client, turn.rng)
    )
    return send(turn.client, frame("open", turn.rng, **{"with": to}))


@step(6)
def close_conversation(turn: Turn) -> str | None:
    if turn.client.dialect != "ndjson":
        return None
    return send(
        turn.client, frame("close", turn.rng, **{"with": other_name(turn.play, turn.client, turn.rng)})
    )


@step(4)
def close_both(turn: Turn) -> str | None:
    """Let both sides do something about one conversation at the same time."""
    if turn.client.dialect != "ndjson":
        return None
    other = turn.rng.choice([one for one in turn.play.clients if one is not turn.client])
    if other.dialect != "ndjson":
        return None
    done = []
    for one, peer in ((turn.client, other), (other, turn.client)):
        kind = some(turn.rng, ("open", 2), ("close", 3), ("message", 2))
        if kind == "message":
            data = message(turn.play, one, turn.rng, None, peer.favourite)
        else:
            data = frame(kind, turn.rng, **{"with": peer.favourite})
        done.append(send(one, data))
    return "; ".join(each for each in done if each) or None


@step(2)
def race(turn: Turn) -> str | None:
    """Let both sides of a conversation act by turns, with few commits in between."""
    others = [one for one in turn.play.clients if one is not turn.client]
    sides = (turn.client, turn.rng.choice(others))
    if any(one.dialect != "ndjson" or open_link(one) is None for one in sides):
        return None
    done = []
    late = [(0, "message"), (1, "close"), (0, some(turn.rng, ("message", 1), ("open", 1)))]
    length = turn.rng.randrange(3, 7)
    drawn = [
        (turn.rng.randrange(2), some(turn.rng, ("open", 2), ("close", 3), ("message", 3), ("commit", 1)))
        for _ in range(length)
    ]
    for side, kind in [*late, *drawn[3:]] if turn.rng.random() < 0.4 else drawn:
        one, peer = sides[side], sides[1 - side]
        if kind == "commit":
            turn.play.server.commit()
            done.append(kind)
        elif kind == "message":
            done.append(send(one, message(turn.play, one, turn.rng, None, peer.favourite)))
        else:
            done.append(send(one, frame(kind, turn.rng, **{"with": peer.favourite})))
        turn.play.server.loop.run()
    return "; ".join(each for each in done if each)


@step(3)
def join(turn: Turn) -> str | None:
    room = turn.rng.choice(ROOMS) if turn.rng.random() < 0.9 else turn.rng.choice(BAD_ROOMS)
    if turn.client.dialect == "simple":
        return None
    return send(
        turn.client,
        f"/join {room}\n".encode() if turn.client.dialect == "text" else frame("join", turn.rng, room=room),
    )


@step(2)
def leave(turn: Turn) -> str | None:
    return (
        send(turn.client, frame("leave", turn.rng, room=any_room(turn.client, turn.rng)))
        if turn.client.dialect == "ndjson"
        else None
    )


@step(2)
def rename(turn: Turn) -> str | None:
    name = turn.rng.choice(
        (turn.client.favourite, turn.client.favourite, f"{turn.client.favourite}2", any_name(turn.rng))
    )
    if turn.client.dialect == "text":
        return send(turn.client, f"/nick {name}\n".encode())
    if turn.client.dialect == "simple":
        return send(turn.client, encode({"username": name, "message": ""}))
    return send(turn.client, frame("rename", turn.rng, username=name))


def _quit(client: Client) -> bytes:
    return b"bye\n" if client.dialect == "text" else frame("quit")


@step(0.8)
def leave_for_good(turn: Turn) -> str | None:
    return send(turn.client, _quit(turn.client)) if turn.client.dialect != "simple" else None


@step(4)
def ask(turn: Turn) -> str | None:
    """Request a list, a page of history or a round trip."""
    if turn.client.dialect == "text":
        return send(
            turn.client, turn.rng.choice((b"/who\n", b"/rooms\n", b"/help\n", b"/msg ann\n", b"/wave\n"))
        )
    if turn.client.dialect == "simple":
        return None
    kind = some(
        turn.rng, ("who", 2), ("rooms", 1), ("history", 3), ("rtt", 1), ("servers", 0.5), ("ping", 0.5)
    )
    room = any_room(turn.client, turn.rng)
    fields: dict[str, Any] = {}
    match kind:
        case "who":
            fields = {"room": turn.rng.choice((None, room)), "after": turn.rng.choice((None, None, "bob"))}
        case "rooms":
            fields = {"after": turn.rng.choice((None, "den"))}
        case "history":
            fields = {
                "room": room,
                "before": turn.rng.choice((None, None, 3, 6)),
                "after": turn.rng.choice((None, None, 0, 2)),
                "limit": turn.rng.choice((None, 1, 3)),
            }
        case "rtt":
            fields = {"username": turn.rng.choice((None, any_name(turn.rng)))}
        case "ping":
            fields = {"id": turn.rng.choice((None, 7, "p"))}
    return send(turn.client, frame(kind, turn.rng, **fields))


@step(2)
def answer_ping(turn: Turn) -> str | None:
    if not turn.client.pings and turn.rng.random() < 0.8:
        return None
    number = (
        turn.client.pings.pop()
        if turn.client.pings and turn.rng.random() < 0.9
        else turn.rng.choice(("1", 5))
    )
    turn.client.pings.clear()
    return send(turn.client, frame("pong", id=number)) if turn.client.dialect == "ndjson" else None


@step(0.7)
def garbage(turn: Turn) -> str | None:
    if turn.rng.random() < 0.1:
        many = turn.rng.choice((b'{"type":"leave","room":"x"}\n' * 12, b"y" * 70_000))
        done = send(turn.client, many)
        return None if done is None else f"{turn.client} > much"
    return send(turn.client, turn.rng.choice(GARBAGE))
