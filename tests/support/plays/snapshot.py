"""The state of the core in words: those of docs/glossary.md, which outlive a change of the code.

A line each about a user, a room, a conversation, and what belongs to the whole server. What is written here
is compared between versions: meanings (connected, held, live, after seq 5, owes closed), not attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chat_server.core.delivery.room import delivered_to
from chat_server.core.ports.log import Origin
from chat_server.core.sessions.membership import MembershipState

if TYPE_CHECKING:
    from collections.abc import Mapping


def snapshot(hub: Any, ingest: Any, committer: Any) -> dict[str, str]:
    """Return the state of the core: a line each about a session, a room, a conversation, the counters."""
    lines: dict[str, str] = {}
    for key, identity in hub.directory.items():
        (session,) = identity.sessions or (None,)
        lines[f"user {key}"] = (
            f"{identity.name}, being stored" if session is None else _describe(hub, session)
        )
    for key, room in hub.rooms.items():
        lines[f"room {key}"] = (
            f"{room.name} head {room.head} members {_names(room.members)}"
            f" tail {len(room.tail)} joined {list(room.joined_names)} left {list(room.left_names)}"
        )
    for pair, conversation in hub.conversations.by_pair.items():
        room = conversation.room
        found = hub.conversations.by_name.get(room.key) is conversation
        state = "closed" if conversation.opener is None else f"of {conversation.opener.name}"
        lines[f"conversation {pair[0]}-{pair[1]}"] = (
            f"{_name(hub, room)}{'' if found else ' not stored'} {state} since {conversation.opened_seq} "
            f"head {room.head} members {_names(room.members)} tail {len(room.tail)}"
        )
    expiring = sorted(session.name for session in hub.resumable._expiring)
    lines["held"] = f"{hub.resumable.held_count}, expiring {expiring}"
    lines["identities"] = str({number: one.name for number, one in sorted(hub.identities.items())})
    lines["connected"] = str(sorted(session.name for session in hub.sessions.values()))
    lines["queue"] = f"{ingest.queued_bytes} bytes, idle {committer.idle}"
    lines["failing"] = f"{committer.last_error}, refused {committer.refused_messages}"
    lines["counters"] = _counters(hub.stats)
    return lines


def _describe(hub: Any, session: Any) -> str:
    state = {"ACTIVE": "connected"}.get(session.state.name, session.state.name.lower())
    ending = (session.ending or {}).values()
    unconfirmed = sorted(
        f"{one.room.name} since {since}"
        for one in (*session.memberships.values(), *ending)
        if (since := session.unconfirmed_since(one)) is not None
    )
    messages, size = delivered_to(session)
    rooms = [f"{key} {_membership(one)}" for key, one in session.memberships.items()]
    rooms += [f"({one.room.key} {_membership(one)})" for one in ending if one.cursor is not None]
    known = [hub.conversations.by_pair[pair].room for pair in session.identity.conversations or ()]
    to_load = session.resumption is not None and session.resumption.refs_to_load
    return (
        f"{session.name} {session.id} {state}"
        f" in [{'; '.join(sorted(rooms))}] default {session.default_room} pending {session.pending}"
        f" opened {session.identity.opened_count} knows {sorted(_name(hub, room) for room in known)}"
        f" refs {len(session.refs or ())}{' to load' if to_load else ''}"
        f" unconfirmed {unconfirmed} sent {session.messages_in} got {messages}, {size} bytes"
        f" missed {session.missed_pings} refused {session.refusals}"
        f"{' lagging' if session in hub.backfill.lagging_sessions else ''}"
        f" {session.encoding.dialect}{' operator' if session.origin is Origin.SERVER else ''}"
    )


def _membership(membership: Any) -> str:
    """Return how a session gets a room: live, or from a seq on, and what it is owed besides messages."""
    cursor = membership.cursor
    if cursor is None:
        return "live" if membership.state is MembershipState.LIVE else "held"
    opened = ", owes opened" if cursor.opened_event is not None else ""
    closed = f", owes closed after {cursor.end_seq}" if cursor.closed_event is not None else ""
    known = "" if cursor.client_knows else ", unknown to the client"
    own = f", own {cursor.own_seq}" if cursor.own_seq > cursor.seq else ""
    return f"after {cursor.seq}{opened}{closed}{known}{own}"


def _counters(stats: Any) -> str:
    rooms = {
        name: (one.messages, one.deliveries, one.accept_to_commit, one.commit_to_sent)
        for name, one in sorted(stats.rooms.items())
    }
    plain = (
        *(stats.messages, stats.deliveries, stats.commits, stats.bytes_in, stats.bytes_out),
        *(
            stats.caught_up,
            stats.opened,
            {str(code): count for code, count in sorted(stats.errors.items())},
        ),
    )
    tallies = (stats.accept_to_commit, stats.commit_to_sent, stats.rtt)
    return f"{plain} {tallies} {rooms}"


def _names(members: Mapping[Any, Any]) -> list[str]:
    return sorted(session.name for session in members)


def _name(hub: Any, room: Any) -> str:
    """Return the name of a conversation; without its number while nobody has seen it."""
    return str(room.name) if room.key in hub.conversations.by_name else str(room.name.partition("#")[0])
