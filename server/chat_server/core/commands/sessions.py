"""Coming in, taking another name, and leaving for good."""

import secrets
from typing import Final

from msgspec import structs

from chat_protocol import LOBBY, PROTOCOL_VERSION
from chat_protocol.commands import Arrive, Hello, Help, Quit, Rename, Resume
from chat_protocol.dialects.plain_text import GREETING, HELP
from chat_protocol.dialects.table import ENCODERS
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import HistoryPage, Notice, Renamed, RoomState, Welcome
from chat_server.core.base.pages import fitting
from chat_server.core.chat.hub import Hub, new_public_id
from chat_server.core.chat.presence import LARGE
from chat_server.core.chat.resume import announce, resume, vacate
from chat_server.core.commands.rooms import read
from chat_server.core.ports.records import IdentityRecord, SessionRecord
from chat_server.core.ports.store import StoreUnavailable
from chat_server.core.sessions.resumable import hash_secret
from chat_server.core.sessions.session import Session

SECRET_BYTES: Final = 24
"""Random bytes in a session's secret: 192 bits, over the 128 that docs/protocol.md promises."""

NEVER: Final = 1 << 62
"""A place in the stream that is never reached: what was to arrive there was not even sent."""

ARRIVAL_MESSAGES: Final = 10
"""What plain text shows on arrival."""


TRIED_OUT: Final = frozenset({ErrorCode.NAME_TAKEN, ErrorCode.NAME_INVALID})
"""What a hello is answered that tries out names; an unknown secret counts as well."""


def check_failures(session: Session) -> None:
    """Raise `Refused` while too many hellos of the peer's address have failed, whatever this one says."""
    wait = session.link.may_hello()
    if wait:
        raise Refused(
            ErrorCode.RATE_LIMITED, "too many hellos from your address have failed", retry_after=wait
        )


def hello(hub: Hub, session: Session, command: Hello) -> None:
    """Open the session under a name; `welcome` is the answer and the first frame."""
    if session.id:
        raise Refused(ErrorCode.ALREADY_NAMED, f"you are {session.name}; to change that, rename")
    check_failures(session)
    wanted, guessed = command.resume, False
    if wanted is not None:
        if _resumed(hub, session, command, wanted):
            return
        # A secret of this epoch that nobody has may be a guess; one of another epoch was good, once.
        this_epoch = wanted.epoch in {"", hub.store.epoch}
        guessed = this_epoch and hub.seats.find(wanted.session) is None
        if guessed:
            session.link.failed_hello()
    rooms = list(dict.fromkeys([LOBBY] if command.rooms is None else command.rooms))
    hub.check_room_limit(len(rooms))
    secret = None
    if command.resumable or command.resume is not None:
        secret = secrets.token_urlsafe(SECRET_BYTES)
    come_in(hub, session, command.username, rooms, secret=secret, ref=command.ref, counted=guessed)


def _resumed(hub: Hub, session: Session, command: Hello, wanted: Resume) -> bool:
    """Take over the session whose secret this is; tell whether it could be. May wait."""
    seat = hub.seats.find(wanted.session)
    if seat is None:
        return False
    try:
        vacant = vacate(hub, seat, session)
    except StoreUnavailable as error:
        raise Refused(ErrorCode.UNAVAILABLE, f"the store cannot be read now: {error}") from error
    if not vacant:
        return False
    if wanted.epoch != hub.store.epoch:  # what its client knows is void, and so is its session
        hub.end(seat)
        return False
    resumed = resume(hub, seat, session, wanted.rooms)
    states = [hub.state(room, seat) for room in resumed.rooms]
    shown = _welcome(hub, seat, wanted.session, command.ref, states, resumed=True)
    announce(hub, seat, resumed.rooms[shown:])
    for room, since in resumed.unnamed:
        seat.told_of(room, since)
    hub.feeder.start(seat)
    return True


def come_in(
    hub: Hub,
    session: Session,
    username: str,
    rooms: list[str],
    *,
    secret: str | None = None,
    ref: str | None = None,
    counted: bool = False,
) -> None:
    """Claim the name, enter the rooms and send `welcome`, or raise `Refused` with nothing claimed.

    `counted`: it is a failed hello already, whatever comes of it.
    """
    try:
        entered = [hub.room(name) for name in rooms]
        hub.check_rooms(entered)
        hub.names.claim(username, session)
    except Refused as refusal:
        if refusal.code in TRIED_OUT and not counted:
            session.link.failed_hello()
        raise
    public_id, identity = new_public_id(), hub.store.new_identity()
    if secret is not None:
        _save(hub, session, SessionRecord(public_id, identity, session.name, hash_secret(secret)))
        if session.closed:
            return
    hub.enter(session, public_id, identity)
    for room in entered:
        hub.join(room, session)
    _welcome(hub, session, secret, ref, [hub.state(room, session) for room in session.rooms.values()])


def arrive(hub: Hub, session: Session, command: Arrive) -> None:
    """Plain text: come in as a guest, with a line of help and what was said last."""
    del command
    if session.id:
        return
    try:
        page = read(hub, hub.room(LOBBY), limit=ARRIVAL_MESSAGES)  # may wait: come in after it
    except Refused:  # a store that cannot be read now is no reason to keep a guest out
        page = []
    if session.closed:
        return
    hub.names.claim_guest(session)
    hub.enter(session, new_public_id(), hub.store.new_identity())
    session.send(Notice(text=GREETING))
    room = hub.join(hub.room(LOBBY), session)
    if page:
        session.send(HistoryPage(room=room.name, messages=page, more=False))
    _welcome(hub, session, None, None, [hub.state(room, session)])


def explain(hub: Hub, session: Session, command: Help) -> None:
    """Plain text: say what can be typed."""
    del hub
    session.send(Notice(text=HELP, ref=command.ref))


def rename(hub: Hub, session: Session, command: Rename) -> None:
    """Take another name, once what was said under the old one is stored."""
    take_name(hub, session, command.username, command.ref)


def take_name(hub: Hub, session: Session, username: str, ref: str | None) -> None:
    """Rename the session and tell each of its peers once, rooms with very many members excepted."""
    hub.names.check(username)
    hub.settle(session)
    if session.closed:
        return
    old = session.name
    hub.names.claim(username, session)
    if session.record is not None and session.name != old:
        session.record = structs.replace(session.record, name=session.name)
        signal = session.link.new_signal()
        hub.ingest.rename(session.record, signal)  # a store that fails now takes it later
        session.link.wait(signal)
    session.send(Renamed(sender=session.id, old=old, username=session.name, ref=ref))
    if session.name == old:
        return  # nobody needs to hear of that
    peers: dict[Session, None] = {}
    for room in session.rooms.values():
        if len(room.members) <= LARGE:
            peers.update(dict.fromkeys(room.members))
            hub.presences.renamed(room, old, session.name)
    peers.pop(session, None)
    news = Renamed(sender=session.id, old=old, username=session.name)
    told = [encoder.encode(news) for encoder in ENCODERS]
    for peer in peers:
        if not peer.outbox.full:  # else the name comes with the next message
            peer.outbox.put(told[peer.dialect])


def leave_for_good(hub: Hub, session: Session, command: Quit) -> None:
    """Say good-bye once all that the session said is stored and told."""
    hub.settle(session)
    session.for_good = True
    hub.part(session)  # stored before it hears `bye`: a kill must not bring it back
    session.link.end(ByeReason.QUIT, ref=command.ref)


def _welcome(
    hub: Hub,
    session: Session,
    secret: str | None,
    ref: str | None,
    states: list[RoomState],
    *,
    resumed: bool = False,
) -> int:
    """Send `welcome` with as many of the rooms as it has place for; return how many these are."""
    fit = fitting(states)
    session.send(
        Welcome(
            protocol=PROTOCOL_VERSION,
            id=session.id,
            username=session.name,
            resumed=resumed,
            epoch=hub.store.epoch,
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
    if session.record is not None and not resumed:
        session.welcomed_at = NEVER if session.outbox.shut else session.link.position()
    hub.welcomed(session, resumed=resumed)
    return fit


def _save(hub: Hub, session: Session, record: SessionRecord) -> None:
    """Store a resumable session before its client hears of it, or raise `Refused`. May wait."""
    signal = session.link.new_signal()
    barrier = hub.ingest.save(record, IdentityRecord(record.identity, record.name), signal)
    session.link.wait(signal)
    if barrier.failed or session.outbox.shut:
        hub.names.release(session)
        session.name = ""
        if not barrier.failed:
            hub.ingest.end(record.id)
        raise Refused(ErrorCode.UNAVAILABLE, "the session cannot be stored now; say hello again")
    session.record = record
    session.identity_stored = True
    hub.seats.add(session)
