"""Handlers that open and close conversations; messages in them are in messages.py."""

from chat_protocol.commands import Close, Open
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import Opened
from chat_server.core.chat.conversation import Conversation, ConversationState
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import Session


def open_conversation(hub: Hub, session: Session, command: Open) -> None:
    """Open a conversation; both sides get `opened`. If it is open already, answer with the position."""
    peer = hub.directory.require_user(command.peer)
    if peer is session.identity:
        raise Refused(ErrorCode.INVALID_FIELD, "you cannot open a conversation with yourself")
    conversation = hub.conversations.get_or_create(session.identity, peer, session.link)
    room = conversation.room
    if conversation.state is ConversationState.CLOSED:
        hub.openings.queue_opening(conversation, session, peer, command.ref)
        return
    if session not in room.members:
        hub.wait_delivered(session)  # its opening, perhaps by the other side, is still queued
    if session.closed:
        return
    if session not in room.members:
        if not peer.sessions:
            raise Refused(ErrorCode.NO_SUCH_USER, f"{peer.name} has just left")
        raise Refused(ErrorCode.UNAVAILABLE, "the conversation could not be opened; try again")
    by = conversation.opener.name if conversation.opener is not None else peer.name
    session.send(
        Opened(room=room.name, peer=peer.name, by=by, seq=room.position_of(session), ref=command.ref)
    )


def close_conversation(hub: Hub, session: Session, command: Close) -> None:
    """Close a conversation, once all its messages are delivered; both sides get `closed`."""
    hub.wait_own_delivered(session)
    if session.closed:
        return
    conversation = _require_open_with(hub, session, command.peer)
    if hub.closings.save_closing(conversation, session):
        hub.wait_delivered(session)
    hub.wait_caught_up(session, conversation.room)
    if not session.closed:
        if session not in conversation.room.members:  # the other side was faster
            raise _not_open(command.peer)
        hub.closings.close(conversation, session, command.ref)


def _require_open_with(hub: Hub, session: Session, username: str) -> Conversation:
    """Return the open conversation with a user, or raise `Refused`."""
    peer = hub.directory.require_user(username)
    conversation = hub.conversations.between(session.identity, peer)
    if conversation is None or session not in conversation.room.members:
        raise _not_open(peer.name)
    return conversation


def _not_open(username: str) -> Refused:
    return Refused(ErrorCode.NO_SUCH_ROOM, f"no conversation with {username[:80]} is open")
