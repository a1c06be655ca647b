"""Shows the session's events on the screen.

Runs in a thread of its own, and may wait for the server: answers are read by another thread.
"""

import collections

import msgspec

from chat_client.errors import ChatError
from chat_client.events import Back, Lost, Overrun, Unsaved
from chat_client.terminal.conversation_list import View
from chat_client.terminal.state import SHOWN_MESSAGES, ChatState
from chat_client.text.render import back_text, format_count
from chat_protocol.events import (
    Closed,
    Error,
    Event,
    Gap,
    Joined,
    MessageEvent,
    Opened,
    Presence,
    Renamed,
    Welcome,
)
from chat_protocol.names import fold
from chat_protocol.sentences import event_sentences

_MAX_CAUGHT_UP_MESSAGES = 200  # shown after a reconnect; more would bury new messages
_MORE_HINT = "/history shows more"


class EventPresenter:
    """Shows events one by one, in their order."""

    def __init__(self, state: ChatState) -> None:
        self._state = state
        self._epoch = state.client.welcome.epoch
        # Messages of the current room since the resume; None if there is no catch-up.
        self._caught_up: collections.deque[MessageEvent] | None = None
        self._caught_up_count = 0

    def present_event(self, event: Event) -> None:
        """Show an event on the screen, or update the state for it."""
        state = self._state
        match event:
            case MessageEvent():
                self._message(event)
            case Presence():
                self._presence(event)
            case Renamed():
                self._renamed(event)
            case Opened():
                self._opened(event)
            case Closed():
                self._closed(event)
            case Lost():
                self._present_caught_up()
                self._lost(event)
            case Welcome() if event.resumed:
                self._caught_up, self._caught_up_count = collections.deque(maxlen=_MAX_CAUGHT_UP_MESSAGES), 0
            case Back():
                state.last_loss = ""
                state.screen.warn(back_text(event))
                self._present_caught_up()
                if not event.resumed:
                    self._present_new_session(state.client.welcome)
            case Unsaved():
                state.screen.warn(event.message)
            case Overrun():
                state.screen.warn(
                    f"{event.count} events came too fast and were dropped; /history has the messages"
                )
            case Error() | Gap():
                for sentence in event_sentences(event):
                    state.screen.warn(sentence)
            case Joined():
                state.learn_room(View(event.room))
            case _:
                pass
        state.refresh()

    def _presence(self, event: Presence) -> None:
        state = self._state
        hidden = state.ignored | {fold(state.client.username)}
        present = state.present.setdefault(fold(event.room), set())
        joined = [name for name in event.joined or () if fold(name) not in hidden]
        # A leave of a user that was never seen is noise: a script that came and went within a second.
        left = [name for name in event.left or () if fold(name) in present - hidden]
        present.update(map(fold, event.joined or ()))
        present.difference_update(map(fold, event.left or ()))
        for name in joined:
            state.learn_name(name)
        current = state.views.current
        if (joined or left) and current is not None and fold(current.room) == fold(event.room):
            for sentence in event_sentences(msgspec.structs.replace(event, joined=joined, left=left)):
                state.screen.notice(sentence)

    def _renamed(self, event: Renamed) -> None:
        state = self._state
        state.names.pop(fold(event.old), None)
        state.learn_name(event.username)
        state.views.rename_peer(event.old, event.username)
        for present in state.present.values():
            if fold(event.old) in present:
                present.discard(fold(event.old))
                present.add(fold(event.username))
        if fold(event.old) in state.ignored:
            state.ignored.add(fold(event.username))
            return
        if event.sender == state.client.id:
            state.screen.notice(f"you are now {event.username}")
        else:
            state.screen.notice(f"{event.old} is now {event.username}")

    def _closed(self, event: Closed) -> None:
        state = self._state
        view = state.views.get(event.room)
        if view is None:
            return
        by_peer = fold(event.by) != fold(state.client.username)
        if by_peer and view is state.views.current:
            # Before the view changes: a line that is being typed for the peer must not go to a room.
            state.held_lines.note_failure(f"{event.by} closed the conversation")
        if fold(event.by) not in state.ignored or view is state.views.current:
            state.screen.notice(f"{event.by} closed the conversation")
        state.leave(event.room)

    def _opened(self, event: Opened) -> None:
        state = self._state
        view = state.views.with_peer(event.peer)
        if view is not None:
            if fold(view.room) != fold(event.room):
                state.views.move_to_room(view, event.room)
            return
        state.views.add(event.room, event.peer)
        if fold(event.by) != fold(state.client.username) and fold(event.by) not in state.ignored:
            state.screen.notice(f"{event.by} has opened a conversation with you: /chat {event.by}")

    def _lost(self, event: Lost) -> None:
        state = self._state
        if event.message != state.last_loss:  # do not repeat it; the status line shows it
            state.screen.warn(
                f"not connected: {event.message}; trying again in {event.wait:.1f} s; messages are queued"
            )
        state.last_loss = event.message

    def _message(self, event: MessageEvent) -> None:
        state = self._state
        current = state.views.current
        if self._caught_up is None or current is None or fold(current.room) != fold(event.room):
            state.present_message(event)
        else:
            self._caught_up.append(event)
            self._caught_up_count += 1

    def _present_caught_up(self) -> None:
        """Show the messages of a catch-up: all, or only the last ones if there are very many."""
        held, self._caught_up = self._caught_up, None
        if not held:
            return
        if self._caught_up_count > _MAX_CAUGHT_UP_MESSAGES:
            held = collections.deque(held, maxlen=SHOWN_MESSAGES)
            missed = format_count(self._caught_up_count, "message")
            self._state.screen.notice(
                f"{missed} missed in this room; the last {SHOWN_MESSAGES} ({_MORE_HINT}):"
            )
        for message in held:
            self._state.present_message(message)

    def _present_new_session(self, welcome: Welcome) -> None:
        """Continue in a new session: fetch the missed messages, and show or count them."""
        state = self._state
        same = welcome.epoch == self._epoch
        self._epoch = welcome.epoch
        heads = {fold(state.room): state.seq for state in welcome.rooms}
        with state.lock:
            current = state.views.current
            for view in state.views.all_views():
                head = heads.get(fold(view.room), 0)
                if not same or view.peer is not None:
                    view.seq = 0 if view is current or view.peer is not None else head
                elif view is not current:
                    view.unread += max(0, head - view.seq)
                    view.seq = max(view.seq, head)
        if current is None or current.peer is not None:
            return
        try:
            missed = state.client.history(current.room, after=current.seq, limit=_MAX_CAUGHT_UP_MESSAGES + 1)
            if len(missed) > _MAX_CAUGHT_UP_MESSAGES:
                state.screen.notice(
                    f"many messages were missed; the last {SHOWN_MESSAGES} messages ({_MORE_HINT}):"
                )
                missed = state.client.history(current.room, limit=SHOWN_MESSAGES)
        except ChatError as error:
            state.screen.warn(f"the missed messages cannot be shown: {error}")
            return
        for message in missed:
            state.present_message(message)
