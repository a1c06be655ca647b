"""What commands cost besides their first token of the message rate.

It is charged when it is known, and leaves the session in debt: the answer is sent, the next command waits.
A token is about what a message costs, 50 µs of CPU and a delivery to a few dozen members. What holds
others up for longer than a millisecond, because it cannot be interrupted, costs more than its CPU, up to five
times: so what the others do seldom meets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chat_server.core.identity.permissions import CONVERSATION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chat_protocol.events import Event
    from chat_server.core.delivery.room import Session

ANSWER_BYTES_PER_TOKEN: Final = 4096
"""A whole frame of an answer costs 16 tokens: 0.4 to 1 ms, however many entries it has."""

STORED_PAGE_TOKENS: Final = 8
"""For a page that is not in a room's tail: a thread reads the disk, for one session after the other."""

EXAMINED_PER_TOKEN: Final = 250
"""Users that were passed over to find those of a list."""

DESCRIBED_PER_TOKEN: Final = 20
"""Users in a page of them: each is found, and its round trip asked for, 3 µs."""

PEERS_PER_TOKEN: Final = 8
"""Peers that are notified one by one, 4 µs for each."""

NAME_TOKENS: Final = 2
"""For each public room that a hello names: it is checked and compared, and the room notifies its members."""

CONVERSATIONS_PER_TOKEN: Final = 8
"""Conversations that a hello names: each is looked up only."""

RESUMED_PER_TOKEN: Final = 1
"""Conversations that a session is resumed with: each is left, held, joined again and listed, 10 µs in all."""

REFS_PER_TOKEN: Final = 8
"""Refs that are read from the store when a session is resumed, 10 µs each, in a thread."""

MEMBERS_PER_TOKEN: Final = 64
"""Members of a room that a message is for; those of the first token are free. Charged to the address alone:
a room is as large as others make it."""

UNCOUNTED_BYTES: Final = 100
"""Bytes for which a ping, or a pong that nobody asked for, counts beside its own: with 25 of its own it would
cost a hundred times what the bytes of a message do."""

FAULT_BYTES: Final = 500
"""Bytes for which a frame that is no command counts beside its own: it takes no token, and gets an answer."""


def charge(session: Session, tokens: float) -> None:
    """Charge the session, and its address, for what a command has cost."""
    if session.allowance is not None:
        session.allowance.charge(tokens, session.read_at)


def charge_members(session: Session, members: int) -> None:
    """Charge the session's address for a message to more members than its token is for."""
    allowance = session.allowance
    if allowance is not None and allowance.address is not None:
        allowance.address.charge(members / MEMBERS_PER_TOKEN - 1, session.read_at)


def charge_bytes(session: Session, size: int) -> None:
    """Charge bytes that the session has not sent, for a command that takes no token."""
    if session.allowance is not None:
        session.allowance.charge_bytes(size, session.read_at)


def answer(session: Session, event: Event) -> None:
    """Send the answer to a command, and charge its bytes."""
    data = session.encoding.encode(event)
    session.outbox.put(data)
    charge(session, len(data) / ANSWER_BYTES_PER_TOKEN)


def charge_names(session: Session, names: Iterable[str]) -> None:
    """Charge the names of rooms in a hello, except for the first, whether it succeeds or not."""
    public = conversations = 0
    for name in names:
        if name[:1] == CONVERSATION_PREFIX:  # there may be thousands
            conversations += 1
        else:
            public += 1
    tokens = max(public - 1, 0) * NAME_TOKENS + conversations / CONVERSATIONS_PER_TOKEN
    if tokens > 0:
        charge(session, tokens)
