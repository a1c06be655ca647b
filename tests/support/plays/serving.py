"""Steps of the server, of its disk, of its operator, and of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.plays.table import Turn, some, step

if TYPE_CHECKING:
    from random import Random


def draw_limits(rng: Random) -> dict[str, float]:
    """Return limits of a session and of the server; many are off, the others are soon reached."""
    return {
        "rate_messages": rng.choice((0, 0, 1)),
        "rate_messages_burst": 3,
        "rate_bytes": rng.choice((0, 0, 50)),
        "rate_bytes_burst": 500,
        "max_rooms": rng.choice((0, 2, 3)),
        "max_conversations": rng.choice((0, 1, 2)),
        "max_public_rooms": rng.choice((0, 2, 3)),
        "max_held": rng.choice((0, 1, 2)),
        "max_held_per_address": rng.choice((0, 1, 2)),
    }


@step(6)
def commit(turn: Turn) -> str | None:
    turn.play.server.commit()
    return "commit"


@step(4)
def feed(turn: Turn) -> str | None:
    steps = some(turn.rng, (1, 2), (3, 1), (1000, 2))
    turn.play.server.feed(steps)
    return f"feed {steps}"


@step(1)
def slow_disk(turn: Turn) -> str | None:
    turn.play.disk.slow = not turn.play.disk.slow
    return f"the disk is {'slow' if turn.play.disk.slow else 'fast'}"


@step(5)
def end_disk_wait(turn: Turn) -> str | None:
    if not turn.play.server.disk_waits:
        return None
    turn.play.server.end_disk_wait()
    return "the disk goes on"


@step(0.7)
def full_disk(turn: Turn) -> str | None:
    turn.play.disk.full = not turn.play.disk.full
    return f"the disk {'is full' if turn.play.disk.full else 'has space'}"


@step(0.5)
def unreadable_disk(turn: Turn) -> str | None:
    turn.play.disk.unreadable = not turn.play.disk.unreadable
    return f"the disk {'cannot' if turn.play.disk.unreadable else 'can'} be read"


@step(0.1)
def break_something(turn: Turn) -> str | None:
    """Let a bug occur: what the server does then belongs to its behaviour, too."""
    turn.play.disk.bug = turn.rng.choice(("append", "fan_out", "report"))
    return f"a bug is met: {turn.play.disk.bug}"


@step(3)
def pause(turn: Turn) -> str | None:
    """Let time pass, with one tick at its end."""
    seconds = some(turn.rng, (0.05, 3), (0.4, 3), (1.1, 4), (6.0, 1), (31.0, 1), (130.0, 0.3), (301.0, 0.3))
    turn.play.clock.advance(seconds)
    turn.play.server.tick()
    return f"{seconds} s pass"


@step(0.4)
def silence(turn: Turn) -> str | None:
    """Let so much time pass that pings remain unanswered."""
    for _ in range(4):
        turn.play.clock.advance(turn.play.ping_interval)
        turn.play.server.tick()
        turn.play.end_step()
    return "silence"


@step(5)
def tick(turn: Turn) -> str | None:
    turn.play.clock.advance(turn.rng.choice((0.0, 0.1, 0.35)))
    turn.play.server.tick()
    return "tick"


@step(0.6)
def trim(turn: Turn) -> str | None:
    """Delete messages by number or by age."""
    if turn.play.disk.unreadable or turn.play.disk.full:
        return None
    keep = turn.rng.choice((0, 1, 3))
    before = (
        turn.play.clock.time() - turn.rng.choice((0.0, 1.0, 40.0))
        if not keep or turn.rng.random() < 0.3
        else 0.0
    )
    rooms = turn.play.server.core.trim(keep, before)
    return f"trim, {keep} kept, before {before}: {rooms} rooms"


@step(0.4)
def kick(turn: Turn) -> str | None:
    return f"kick: {turn.play.server.core.kick(turn.client.name or turn.client.favourite)}"


@step(0.6)
def delete_room(turn: Turn) -> str | None:
    return turn.play.server.core.delete_room(turn.rng.randrange(9))


@step(0.6)
def speak(turn: Turn) -> str | None:
    """Let the operator send a message, to the lobby or to a user."""
    if not turn.play.has_operator:
        return None
    to = turn.client.favourite if turn.rng.random() < 0.5 else None
    turn.play.texts += 1
    turn.play.say(f"attention {turn.play.texts}", to)
    return f"the operator speaks to {to or 'all'}"


@step(0.3)
def reload_settings(turn: Turn) -> str | None:
    limits = draw_limits(turn.rng)
    turn.play.limits = limits
    turn.play.server.core.set_limits(limits)
    return f"reload {limits}"


@step(0.7)
def stop_and_start(turn: Turn) -> str | None:
    """Restart the server in order."""
    turn.play.restart(crash=False, rng=turn.rng)
    return "restart"


@step(1)
def crash(turn: Turn) -> str | None:
    """Kill the server in the middle of its work, and start it again."""
    turn.play.restart(crash=True, rng=turn.rng)
    return "crash and start"


@step(0.1)
def restore_backup(turn: Turn) -> str | None:
    """Start the server on a copy of its data, which it cannot take for complete."""
    turn.play.restart(crash=True, rng=turn.rng, copied=True)
    return "start on a copy of the data"
