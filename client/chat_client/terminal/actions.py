"""Executes typed commands and lines.

Runs in a thread of its own, one line at a time in the order of typing, so that a line typed directly after
`/join dev` is sent to dev.
"""

import time
from collections.abc import Callable

from chat_client.base.pacing import Pacer
from chat_client.connection.pending import Pending
from chat_client.errors import ChatError, Refused
from chat_client.terminal.input_parser import (
    CommandInput,
    GoodbyeInput,
    InvalidInput,
    TextInput,
    UserInput,
    help_lines,
)
from chat_client.terminal.state import ChatState
from chat_client.text.split_text import split_text
from chat_protocol.events import MessageEvent, User
from chat_protocol.names import fold
from chat_protocol.sentences import counted, format_lag

_MAX_HISTORY_MESSAGES = 1000  # limit for /history
_FollowUp = Callable[[Pending[MessageEvent]], None]


class Actions:
    """Executes the user's inputs: a handler for each command.

    `put_back` is called with a line that is held back, to be edited or sent again.
    """

    def __init__(self, state: ChatState, put_back: Callable[[str], None]) -> None:
        self._state = state
        self._put_back = put_back
        self._pacer = Pacer(state.client.welcome.limits)
        self._table: dict[str, Callable[[str], None]] = {
            "help": self._help,
            "join": self._join,
            "leave": self._leave,
            "chat": self._chat,
            "close": self._close,
            "msg": self._msg,
            "rooms": self._rooms,
            "who": self._who,
            "servers": self._servers,
            "history": self._history,
            "rtt": self._rtt,
            "nick": self._nick,
            "ignore": self._ignore,
        }

    def carry_out(self, typed: UserInput, number: int, *, typed_ahead: bool = False) -> None:
        """Execute an input; errors are shown on the screen. The other arguments are those of `HeldLines`."""
        try:
            match typed:
                case TextInput():
                    self._say(typed.text, number, typed_ahead=typed_ahead)
                case CommandInput():
                    self._table[typed.command.name](typed.argument)
                case InvalidInput():
                    self._state.screen.warn(typed.sentence)
                    if typed.changes_view:
                        self._state.held_lines.note_failure("the command before failed")
                case GoodbyeInput():
                    self._close("")  # app.py handles leaving; here it closes a conversation
        except (ChatError, ValueError) as error:
            self._state.screen.warn(str(error))
            if isinstance(typed, CommandInput) and typed.command.changes_view:
                self._state.held_lines.note_failure(f"/{typed.command.name} failed")
        self._state.refresh()

    def _say(self, text: str, number: int, *, typed_ahead: bool) -> None:
        view = self._state.views.current
        reason = self._state.held_lines.reason_to_hold(number, typed_ahead=typed_ahead)
        if reason is not None and view is not None:
            self._state.screen.warn(
                f"not sent, as {reason}; enter it again to send it to {view.label}: {text}"
            )
            self._put_back(text)
            return
        if view is None:
            self._state.screen.warn(f"you are in no room, so nothing was sent; /join one first: {text}")
        elif view.peer is not None:
            self._send(text, None, view.peer)
        else:
            self._send(text, view.room, None)

    def _send(self, text: str, room: str | None, to: str | None, follow_up: _FollowUp | None = None) -> None:
        pieces = split_text(text.strip("\n"))
        if len(pieces) > 1:
            self._state.screen.notice(f"too long for one message: sent as {len(pieces)} messages")
        for index, piece in enumerate(pieces):
            time.sleep(self._pacer.next_wait(len(piece.encode())))
            try:
                self._state.client.send(piece, room, to).then(follow_up or self._follow_up)
            except (ChatError, ValueError) as error:
                unsaid = "\n".join(pieces[index:])
                self._state.screen.warn(f"not sent ({error}): {unsaid}")
                return

    def _follow_up(self, pending: Pending[MessageEvent]) -> None:
        if isinstance(pending.error, Refused):  # unanswered messages are reported on leaving
            text = getattr(pending.command, "message", "")
            self._state.screen.warn(f"not sent ({pending.error}): {text}")
        self._state.refresh()

    def _follow_up_msg(self, pending: Pending[MessageEvent]) -> None:
        if isinstance(pending.error, Refused):
            self._state.held_lines.note_failure("/msg failed")
        self._follow_up(pending)

    def _help(self, _: str) -> None:
        self._state.screen.notice("\n".join(["commands:", *help_lines()]))

    def _join(self, argument: str) -> None:
        room = argument.split(maxsplit=1)[0].removeprefix("#")
        joined = self._state.client.joined_rooms.get(fold(room))
        name = joined.room if joined is not None else self._state.client.join(room).room
        self._state.held_lines.note_success()
        self._state.enter(name)

    def _leave(self, argument: str) -> None:
        current = self._state.views.current
        if not argument and current is not None and current.peer is not None:
            self._close("")
            return
        room = argument.removeprefix("#") or (current.room if current is not None else "")
        if not room:
            raise ValueError("you are in no room")
        left = self._state.client.leave(room)
        self._state.screen.notice(f"you have left {left.room}")
        self._state.leave(left.room)

    def _chat(self, argument: str) -> None:
        opened = self._state.client.open(argument.split(maxsplit=1)[0].removeprefix("@"))
        self._state.learn_name(opened.peer)
        self._state.held_lines.note_success()
        self._state.enter(opened.room, opened.peer)

    def _close(self, argument: str) -> None:
        current = self._state.views.current
        peer = argument.removeprefix("@") or (current.peer if current is not None else None)
        if peer is None:
            raise ValueError("this is a room; use /close NAME to close a conversation")
        view = self._state.views.with_peer(peer)
        if view is not None and fold(view.room) not in self._state.client.joined_rooms:
            self._state.leave(view.room)  # not opened in the new session: nothing to close at the server
            return
        closed = self._state.client.close_conversation(peer)
        self._state.screen.notice(
            f"conversation with {closed.peer} closed; /chat {closed.peer} opens it again, until one of you "
            "leaves the server: then neither can"
        )
        self._state.leave(closed.room)

    def _msg(self, argument: str) -> None:
        name, text = argument.split(maxsplit=1)
        self._send(text, None, name.removeprefix("@"), self._follow_up_msg)

    def _rooms(self, _: str) -> None:
        rooms = self._state.client.rooms()
        lines = [f"{state.room}: {state.count} here, {counted(state.seq, 'message')}" for state in rooms]
        for state in rooms:
            self._state.rooms[fold(state.room)] = state.room
        self._state.screen.notice("\n".join(lines) or "no rooms")

    def _who(self, argument: str) -> None:
        current = self._state.views.current
        room = argument.removeprefix("#") or None
        if room is None and current is not None and current.peer is None:
            room = current.room
        users = self._state.client.who(room)
        for user in users:
            self._state.learn_name(user.username)
        if room is not None:
            present = self._state.present.setdefault(fold(room), set())
            present.update(fold(user.username) for user in users)
        shown = ", ".join(f"{user.username} ({_user_state(user)})" for user in users)
        where = f"in {room}" if room is not None else "connected"
        self._state.screen.notice(f"{len(users)} {where}: {shown}")

    def _servers(self, _: str) -> None:
        lines = [
            f"{server.node} at {server.address}: {server.clients} clients, RTT {_format_ms(server.rtt_ms)}"
            for server in self._state.client.servers()
        ]
        self._state.screen.notice("\n".join(lines))

    def _history(self, argument: str) -> None:
        if argument and not (argument.isascii() and argument.isdigit() and len(argument) < 9):
            raise ValueError("usage: /history [N]")
        view = self._state.views.current
        if view is None:
            raise ValueError("you are in no room")
        limit = max(1, min(int(argument or 50), _MAX_HISTORY_MESSAGES))
        past = self._state.client.history(view.room, limit=limit + 1)  # one more, to see if there are older
        older = len(past) > limit
        past = past[-limit:]
        with self._state.lock:
            if not past:
                self._state.screen.notice(f"no messages in {view.label} yet")
                return
            last = "message" if len(past) == 1 else f"{len(past)} messages"
            self._state.screen.notice(f"the last {last} of {view.label}:")
            self._state.show_past(view, past)
            if not older:
                self._state.screen.notice("end of history")
            elif limit < _MAX_HISTORY_MESSAGES:
                self._state.screen.notice(f"older: /history {min(2 * limit, _MAX_HISTORY_MESSAGES)}")

    def _rtt(self, argument: str) -> None:
        client = self._state.client
        if not argument:
            client.ping()
            samples = client.samples
            self._state.screen.notice(
                f"RTT to {client.address}, measured here: last {_format_ms(samples.last_ms)}, "
                f"min {_format_ms(samples.min_ms)}, p50 {_format_ms(samples.percentile_ms(50))}, "
                f"p99 {_format_ms(samples.percentile_ms(99))}, {samples.count} samples; "
                f"kernel {_format_ms(client.tcp_ms())}"
            )
        report = client.rtt(argument.removeprefix("@") or None)
        self._state.screen.notice(
            f"RTT of {report.username}, measured by the server: last {_format_ms(report.last_ms)}, "
            f"min {_format_ms(report.min_ms)}, p50 {_format_ms(report.p50_ms)}, "
            f"p99 {_format_ms(report.p99_ms)}, {report.samples} samples; kernel {_format_ms(report.tcp_ms)}"
        )

    def _nick(self, argument: str) -> None:
        self._state.client.rename(argument)

    def _ignore(self, argument: str) -> None:
        state = self._state
        if not argument:
            shown = ", ".join(state.names.get(key, key) for key in sorted(state.ignored)) or "nobody"
            state.screen.notice(f"ignored: {shown}")
            return
        key = fold(argument.removeprefix("@"))
        if key in state.ignored:
            state.ignored.discard(key)
            state.ignored_ids.clear()  # those of others are added again with their next message
            state.screen.notice(f"{argument} is no longer ignored")
        else:
            state.ignored.add(key)
            state.screen.notice(f"messages of {argument} are hidden; /ignore {argument} shows them again")


def _user_state(user: User) -> str:
    return f"{_format_ms(user.rtt_ms)}, {format_lag(user.behind)}" if user.behind else _format_ms(user.rtt_ms)


def _format_ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"
