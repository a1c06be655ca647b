"""Handlers that send messages: to a room, to a user, or in two-field JSON."""

from chat_protocol import LOBBY, names
from chat_protocol.commands import Join, Message, Say
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.message_text import text_problem
from chat_server.core.chat.conversation import ConversationState
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.charges import MEMBERS_PER_TOKEN, charge_members
from chat_server.core.commands.rooms import join
from chat_server.core.commands.sessions import change_name, check_failed_hellos, open_session
from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.delivery.publisher import as_repeated
from chat_server.core.delivery.room import BOTH, Session
from chat_server.core.identity.permissions import CONVERSATION_PREFIX, Action, may
from chat_server.core.ports.log import StoreUnavailable, ref_key
from chat_server.core.sessions.session import PendingMessage

_SEND, _CLOSED = Action.SEND, ConversationState.CLOSED  # see identity/permissions.py


def message(hub: Hub, session: Session, command: Message) -> None:
    """Queue a message; its event is the answer."""
    text = command.message
    problem = text_problem(text)
    if problem is not None:
        raise Refused(ErrorCode.INVALID_FIELD, problem)
    ref, key = command.ref, 0
    if ref is not None:
        key = ref_key(ref)
        if session.refs is not None and key in session.refs:
            _answer_repeated(hub, session, key)
            return
    if command.to is None:
        name = session.default_room if command.room is None else command.room
        membership = session.memberships.get(name)
        if membership is not None:
            room = membership.room
            refused = may(session, _SEND, room)
            if refused is not None:
                raise refused
        else:
            room = hub.require_room(session, _SEND, name)
            if session not in room.members:  # a conversation that is closed
                hub.openings.open_for_message(room, session)
    else:
        if command.room is not None:
            raise Refused(ErrorCode.INVALID_FIELD, "a message has either room or to, not both")
        peer = hub.directory.require_user(command.to)
        if peer is session.identity:
            raise Refused(ErrorCode.INVALID_FIELD, "you cannot send a message to yourself")
        conversation = hub.conversations.get_or_create(session.identity, peer, session.link)
        room = conversation.room
        if conversation.state is _CLOSED:
            hub.openings.queue_opening(conversation, session, peer, None)
    if len(room.members) > MEMBERS_PER_TOKEN:
        charge_members(session, len(room.members))
    spoken_by = room.spoken_by
    if spoken_by != BOTH and spoken_by != (speaker := session.identity.id):
        room.spoken_by = BOTH if spoken_by else speaker
    hub.ingest.submit(QueuedMessage(room, session, session.identity.name, text, ref, session.read_at, key))
    session.messages_in += 1


def say(hub: Hub, session: Session, command: Say) -> None:
    """Two-field JSON: take the name if the session has another, enter the room, then send the message."""
    announces = True  # itself or its room: then the message may be empty
    if not session.id:
        check_failed_hellos(session)
        open_session(hub, session, command.username, [LOBBY])
    elif command.username != session.name and names.fold(command.username) != session.identity.key:
        change_name(hub, session, command.username, None)
    else:
        announces = False
    room, to = command.room, command.to
    if room is None and to is None:
        room = LOBBY
    elif room is not None and to is None and _may_enter(session, room):
        join(hub, session, Join(room=room))
        announces = True
    if command.message or not announces:
        message(hub, session, Message(message=command.message, room=room, to=to))


def _may_enter(session: Session, room: str) -> bool:
    """Return whether the room is a public one in which the session is not yet."""
    return not room.startswith(CONVERSATION_PREFIX) and names.fold(room) not in session.memberships


def _answer_repeated(hub: Hub, session: Session, key: int) -> None:
    """Answer a message whose ref was used before with the event of the first one, once that is stored."""
    assert session.refs is not None
    entry = session.refs[key]
    if isinstance(entry, PendingMessage):
        entry.note_repeat()
        return
    try:
        found = hub.log.find(entry)
    except StoreUnavailable as error:
        raise Refused(ErrorCode.UNAVAILABLE, f"message store unavailable: {error}") from error
    if found is None:
        raise Refused(
            ErrorCode.INVALID_FIELD,
            "a message with this ref was accepted, and is no longer stored; do not send it again",
        )
    session.send_if_open(as_repeated(found))
