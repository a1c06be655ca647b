"""Events of the session, as the person sees them.

Knows what each event means for the screen. Must not know typed lines. Runs in a thread of its own and may ask
the server things, as answers are read by another.
"""

import collections

import msgspec

from chat_client.errors import ChatError
from chat_client.events import Back, Lost, Overrun
from chat_client.terminal.conversation_list import View
from chat_client.terminal.state import SHOWN, Desk
from chat_client.text.render import back_text, counted
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
from chat_protocol.sentences import sentences

_CATCH_UP = 200  # messages shown after coming back; more would bury what is said now
_MORE = "/history shows more of them"


class Incoming:
    """Takes events off the session, one after the other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._epoch = desk.client.welcome.epoch
        # What came in the room in front since the session was resumed; None when nothing is being caught up.
        self._held: collections.deque[MessageEvent] | None = None
        self._count = 0

    def take(self, event: Event) -> None:
        """Show what `event` says."""
        desk = self._desk
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
                view = desk.views.get(event.room)
                if view is not None:
                    desk.screen.notice(f"{event.by} closed the conversation")
                    desk.leave(event.room)
            case Lost():
                self._release()
                self._lost(event)
            case Welcome() if event.resumed:
                self._held, self._count = collections.deque(maxlen=_CATCH_UP), 0
            case Back():
                desk.lost = ""
                desk.screen.warn(back_text(event))
                self._release()
                if not event.resumed:
                    self._anew(desk.client.welcome)
            case Overrun():
                desk.screen.warn(f"{event.count} events came too fast to be shown; /history has the messages")
            case Error() | Gap():
                for sentence in sentences(event):
                    desk.screen.warn(sentence)
            case Joined():
                desk.learn_room(View(event.room))
            case _:
                pass
        desk.refresh()

    def _presence(self, event: Presence) -> None:
        desk = self._desk
        me = fold(desk.client.username)
        joined = [name for name in event.joined or () if fold(name) != me]
        left = [name for name in event.left or () if fold(name) != me]
        for name in joined:
            desk.learn_name(name)
        current = desk.views.current
        if (joined or left) and current is not None and fold(current.room) == fold(event.room):
            for sentence in sentences(msgspec.structs.replace(event, joined=joined, left=left)):
                desk.screen.notice(sentence)

    def _renamed(self, event: Renamed) -> None:
        desk = self._desk
        desk.names.pop(fold(event.old), None)
        desk.learn_name(event.username)
        desk.views.renamed(event.old, event.username)
        if fold(event.old) in desk.ignored:
            desk.ignored.add(fold(event.username))
        if event.sender == desk.client.id:
            desk.screen.notice(f"you are now {event.username}")
        else:
            desk.screen.notice(f"{event.old} is now {event.username}")

    def _opened(self, event: Opened) -> None:
        desk = self._desk
        view = desk.views.with_peer(event.peer)
        if view is not None:
            if fold(view.room) != fold(event.room):
                desk.views.moved(view, event.room)
            return
        desk.views.add(event.room, event.peer)
        if fold(event.by) != fold(desk.client.username) and fold(event.by) not in desk.ignored:
            desk.screen.notice(f"{event.by} has opened a conversation with you: /chat {event.by}")

    def _lost(self, event: Lost) -> None:
        desk = self._desk
        if event.message != desk.lost:  # the same again each time says nothing new; the status line counts
            desk.screen.warn(
                f"not connected: {event.message}; trying again in {event.wait:.1f} s; what you send waits"
            )
        desk.lost = event.message

    def _message(self, event: MessageEvent) -> None:
        desk = self._desk
        current = desk.views.current
        if self._held is None or current is None or fold(current.room) != fold(event.room):
            desk.deliver(event)
        else:
            self._held.append(event)
            self._count += 1

    def _release(self) -> None:
        """Show what was caught up: all of it, or a screenful if it is more than a person would read."""
        held, self._held = self._held, None
        if not held:
            return
        if self._count > _CATCH_UP:
            held = collections.deque(held, maxlen=SHOWN)
            missed = counted(self._count, "message")
            self._desk.screen.notice(f"{missed} in this room meanwhile; the last {SHOWN} ({_MORE}):")
        for message in held:
            self._desk.deliver(message)

    def _anew(self, welcome: Welcome) -> None:
        """Go on in a new session: what was said meanwhile is fetched and shown, or counted."""
        desk = self._desk
        same = welcome.epoch == self._epoch
        self._epoch = welcome.epoch
        stands = {fold(state.room): state.seq for state in welcome.rooms}
        with desk.lock:
            current = desk.views.current
            for view in desk.views.all():
                stand = stands.get(fold(view.room), 0)
                if not same or view.peer is not None:
                    view.seq = 0 if view is current or view.peer is not None else stand
                elif view is not current:
                    view.unread += max(0, stand - view.seq)
                    view.seq = max(view.seq, stand)
        if current is None or current.peer is not None:
            return
        try:
            missed = desk.client.history(current.room, after=current.seq, limit=_CATCH_UP + 1)
            if len(missed) > _CATCH_UP:
                desk.screen.notice(f"much was said meanwhile; the last {SHOWN} messages ({_MORE}):")
                missed = desk.client.history(current.room, limit=SHOWN)
        except ChatError as error:
            desk.screen.warn(f"what was said meanwhile cannot be shown: {error}")
            return
        for message in missed:
            desk.deliver(message)
