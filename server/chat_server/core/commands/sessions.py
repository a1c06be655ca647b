"""Handlers of a session's life: hello, resume, rename, quit; arrival and help of plain text."""

import secrets
from typing import Final

from msgspec import structs

from chat_protocol import LOBBY, PROTOCOL_VERSION
from chat_protocol.commands import Arrive, Hello, Help, Quit, Rename, Resume
from chat_protocol.dialects.base import Encoding
from chat_protocol.dialects.plain_text import GREETING, HELP
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import HistoryPage, Notice, Renamed, RoomState, Welcome
from chat_server.core.base.pages import count_fitting
from chat_server.core.chat.hub import Hub
from chat_server.core.chat.presence import LARGE_ROOM_MEMBERS
from chat_server.core.chat.resume import announce_conversations, resume, take_over
from chat_server.core.chat.session_lifecycle import new_public_id
from chat_server.core.commands.charges import (
    PEERS_PER_TOKEN,
    REFS_PER_TOKEN,
    RESUMED_PER_TOKEN,
    STORED_PAGE_TOKENS,
    charge,
    charge_names,
)
from chat_server.core.commands.rooms import read_messages
from chat_server.core.delivery.room import Session, User
from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import IdentityRecord, SessionRecord
from chat_server.core.sessions.lifecycle import SessionEvent
from chat_server.core.sessions.resumable import hash_secret
from chat_server.core.sessions.session import Resumption

SECRET_BYTES: Final = 24
"""Random bytes in a session's secret: 192 bits, above the 128 that docs/protocol.md promises."""

NEVER_ARRIVES: Final = 1 << 62
"""A stream position that is never acknowledged: the welcome was not even sent."""

ARRIVAL_MESSAGES: Final = 10
"""Messages that plain text shows on arrival."""


NAME_PROBING_CODES: Final = frozenset({ErrorCode.NAME_TAKEN, ErrorCode.NAME_INVALID})
"""Answers to a hello that may be probing names; an unknown secret counts as well."""


def check_failed_hellos(session: Session) -> None:
    """Raise `Refused` while too many hellos from the peer's address have failed."""
    wait = session.link.hello_delay()
    if wait:
        raise Refused(
            ErrorCode.RATE_LIMITED,
            "too many hellos from your address have failed; wait before the next",
            retry_after=wait,
        )


def hello(hub: Hub, session: Session, command: Hello) -> None:
    """Open a session under a name, or resume one; `welcome` is the answer and the first frame."""
    if session.id:
        raise Refused(
            ErrorCode.ALREADY_NAMED, f"you are already named {session.name}; use rename to change it"
        )
    check_failed_hellos(session)
    wanted, guessed = command.resume, False
    if wanted is not None:
        charge_names(session, wanted.rooms)
        if _try_resume(hub, session, command, wanted):
            return
        # An unknown secret of this epoch may be a guess; one of another epoch was valid once.
        this_epoch = wanted.epoch in {"", hub.log.epoch}
        guessed = this_epoch and hub.resumable.find_by_secret(wanted.session) is None
        if guessed:
            session.link.record_failed_hello()
    rooms = list(dict.fromkeys([LOBBY] if command.rooms is None else command.rooms))
    if len(rooms) > 1:
        charge_names(session, rooms)
    hub.rooms.check_count(len(rooms))
    secret = None
    if command.resumable or command.resume is not None:
        secret = secrets.token_urlsafe(SECRET_BYTES)
    open_session(
        hub, session, command.username, rooms, secret=secret, ref=command.ref, already_counted=guessed
    )


def _try_resume(hub: Hub, session: Session, command: Hello, wanted: Resume) -> bool:
    """Resume the session with this secret; return False if there is none to resume. May wait."""
    target = hub.resumable.find_by_secret(wanted.session)
    if target is None:
        return False
    loads_refs = target.resumption is not None and target.resumption.refs_to_load
    try:
        resumable = take_over(hub, target, session)
    except StoreUnavailable as error:
        raise Refused(ErrorCode.UNAVAILABLE, f"message store unavailable: {error}") from error
    if loads_refs:
        charge(session, STORED_PAGE_TOKENS + len(target.refs or ()) / REFS_PER_TOKEN)
    if not resumable:
        return False
    if wanted.epoch != hub.log.epoch:  # the client's positions are void, and so is its session
        hub.lifecycle.close(target)
        return False
    resumed = resume(hub, target, session, wanted.rooms)
    charge(session, sum(room.is_conversation for room in resumed.rooms) / RESUMED_PER_TOKEN)
    states = [hub.room_state(room, target) for room in resumed.rooms]
    shown = _send_welcome(hub, target, wanted.session, command.ref, states, resumed=True)
    announce_conversations(hub, target, resumed.rooms[shown:])
    target.note_openings(resumed.unnamed)
    hub.backfill.start_resumed(target)
    return True


def open_session(
    hub: Hub,
    session: Session,
    username: str,
    rooms: list[str],
    *,
    secret: str | None = None,
    ref: str | None = None,
    already_counted: bool = False,
) -> None:
    """Claim the name, join the rooms and send `welcome`, or raise `Refused` with nothing claimed.

    `already_counted`: the failed hello has been recorded already. May wait if there is a `secret`.
    """
    try:
        if len(rooms) > 1:
            hub.directory.check_name(username)  # before the names of a hundred rooms
        entered = [hub.rooms.find_or_make(name) for name in rooms]
        hub.rooms.check_new(entered, session.link.address_key)
        user = hub.directory.claim(username)
    except Refused as refusal:
        if refusal.code in NAME_PROBING_CODES and not already_counted:
            session.link.record_failed_hello()
        raise
    public_id = new_public_id()
    user.id = hub.registry.new_identity()
    try:
        if secret is not None:
            row = SessionRecord(public_id, user.id, user.name, hash_secret(secret))
            _save_session(hub, session, user, row)
            if session.closed:
                return
        hub.lifecycle.activate(session, public_id, user)
    finally:
        if not user.sessions:  # it is not active: the name is free again
            hub.directory.release(user)
    for room in entered:
        hub.rooms.join(room, session)
    states = [hub.room_state(membership.room, session) for membership in session.memberships.values()]
    _send_welcome(hub, session, secret, ref, states)


def arrive(hub: Hub, session: Session, command: Arrive) -> None:
    """Plain text: enter the lobby as a guest; shows a greeting and the last messages. May wait."""
    del command
    if session.id:
        return
    try:
        lobby = hub.rooms.find_or_make(LOBBY)
        page = read_messages(hub, session, lobby, limit=ARRIVAL_MESSAGES)  # may wait: join after it
    except Refused:  # a guest may come in although the store cannot be read
        page = []
    if session.closed:
        return
    user = hub.directory.claim_guest_name()
    user.id = hub.registry.new_identity()
    hub.lifecycle.activate(session, new_public_id(), user)
    session.send(Notice(text=GREETING))
    room = hub.rooms.join(hub.rooms.find_or_make(LOBBY), session)
    if page:
        session.send(HistoryPage(room=room.name, messages=page, more=False))
    _send_welcome(hub, session, None, None, [hub.room_state(room, session)])


def show_help(hub: Hub, session: Session, command: Help) -> None:
    """Plain text: list the commands."""
    del hub
    session.send(Notice(text=HELP, ref=command.ref))


def rename(hub: Hub, session: Session, command: Rename) -> None:
    """Change the name, once messages under the old one are stored."""
    change_name(hub, session, command.username, command.ref)


def change_name(hub: Hub, session: Session, username: str, ref: str | None) -> None:
    """Rename the session and notify each of its peers once, except in large rooms."""
    hub.directory.check_name(username)
    hub.wait_own_delivered(session)
    if session.closed:
        return
    old = session.name
    hub.directory.rename(session.identity, username)
    resumption = session.resumption
    if resumption is not None and session.name != old:
        resumption.record = structs.replace(resumption.record, name=session.name)
        signal = session.link.new_signal()
        hub.ingest.rename_session(resumption.record, signal)  # a store that fails now gets it later
        session.link.wait(signal)
    session.send(Renamed(sender=session.id, old=old, username=session.name, ref=ref))
    if session.name == old:
        return  # no other user needs to know
    peers: dict[Session, None] = {}
    for membership in session.memberships.values():
        room = membership.room
        if room.user_count <= LARGE_ROOM_MEMBERS:
            peers.update(dict.fromkeys(room.members))
            hub.presence_updates.note_renamed(room, old, session.name)
    peers.pop(session, None)
    charge(session, len(peers) / PEERS_PER_TOKEN)
    renamed = Renamed(sender=session.id, old=old, username=session.name)
    encoded: dict[Encoding, bytes] = {}
    for peer in peers:
        if not peer.outbox.full:  # else they see it with the next message
            encoding = peer.encoding
            if encoding not in encoded:
                encoded[encoding] = encoding.encode(renamed)
            peer.outbox.put(encoded[encoding])


def quit_session(hub: Hub, session: Session, command: Quit) -> None:
    """End the session for good, once its messages are stored and delivered."""
    hub.wait_own_delivered(session)
    session.apply(SessionEvent.LEAVE)
    hub.lifecycle.persist_closings(session)  # stored before it gets `bye`: a crash must not bring it back
    session.link.close_with_bye(ByeReason.QUIT, ref=command.ref)


def _send_welcome(
    hub: Hub,
    session: Session,
    secret: str | None,
    ref: str | None,
    states: list[RoomState],
    *,
    resumed: bool = False,
) -> int:
    """Send `welcome` with as many of the rooms as fit; return their number."""
    fit = count_fitting(states)
    session.send(
        Welcome(
            protocol=PROTOCOL_VERSION,
            id=session.id,
            username=session.name,
            resumed=resumed,
            epoch=hub.log.epoch,
            server=hub.server,
            rooms=states[:fit],
            limits=hub.limits.on_wire(),
            ping_interval=hub.ping_interval,
            session=secret,
            more=fit < len(states),
            after=states[fit - 1].room if fit < len(states) else None,
            ref=ref,
        )
    )
    if session.resumption is not None and not resumed:
        arrives = not session.outbox.closed
        session.resumption.welcome_end = session.link.bytes_written() if arrives else NEVER_ARRIVES
    hub.lifecycle.start_watching(session, resumed=resumed)
    return fit


def _save_session(hub: Hub, session: Session, user: User, record: SessionRecord) -> None:
    """Store a resumable session before its client gets the secret, or raise `Refused`. May wait."""
    signal = session.link.new_signal()
    barrier = hub.ingest.save_session(record, IdentityRecord(record.identity, record.name), signal)
    session.link.wait(signal)
    if barrier.failed or session.outbox.closed:
        if not barrier.failed:
            hub.ingest.forget_session(record.id)
        raise Refused(ErrorCode.UNAVAILABLE, "the session could not be stored; send hello again")
    session.resumption = Resumption(record)
    user.is_stored = True
    hub.resumable.register(session)
