"""Typed commands and lines, carried out.

Knows what each command asks of the session. Must not know keys. Runs in a thread of its own, a line at a
time in the order of typing: a line typed right behind `/join dev` is said in dev.
"""

import time
from collections.abc import Callable

from chat_client.base.pacing import Pacer
from chat_client.connection.pending import Pending
from chat_client.errors import ChatError, Refused
from chat_client.terminal.input_parser import Do, Farewell, Say, Typed, Wrong, help_lines
from chat_client.terminal.state import Desk
from chat_client.text.split_text import split_text
from chat_protocol.events import MessageEvent, User
from chat_protocol.names import fold
from chat_protocol.sentences import lag

_MOST_HISTORY = 1000  # messages that /history shows at a time


class Actions:
    """Carries out what was typed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pacer = Pacer(desk.client.welcome.limits)
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

    def carry_out(self, typed: Typed) -> None:
        """Do it; what goes wrong is said on the screen."""
        try:
            match typed:
                case Say():
                    self._say(typed.text)
                case Do():
                    self._table[typed.command.name](typed.argument)
                case Wrong():
                    self._desk.screen.warn(typed.sentence)
                case Farewell():
                    self._close("")  # terminal/app.py leaves by itself; only a conversation's bye comes here
        except (ChatError, ValueError) as error:
            self._desk.screen.warn(str(error))
        self._desk.refresh()

    def _say(self, text: str) -> None:
        view = self._desk.views.current
        if view is None:
            self._desk.screen.warn(f"you are in no room, so nothing was sent; /join one first: {text}")
        elif view.peer is not None:
            self._send(text, None, view.peer)
        else:
            self._send(text, view.room, None)

    def _send(self, text: str, room: str | None, to: str | None) -> None:
        pieces = split_text(text.strip("\n"))
        if len(pieces) > 1:
            self._desk.screen.notice(f"too long for one message: sent as {len(pieces)}")
        for index, piece in enumerate(pieces):
            time.sleep(self._pacer.next_wait(len(piece.encode())))
            try:
                self._desk.client.send(piece, room, to).then(self._follow_up)
            except (ChatError, ValueError) as error:
                unsaid = "\n".join(pieces[index:])
                self._desk.screen.warn(f"not said ({error}): {unsaid}")
                return

    def _follow_up(self, pending: Pending[MessageEvent]) -> None:
        if isinstance(pending.error, Refused):  # what was merely not answered is accounted for on leaving
            text = getattr(pending.command, "message", "")
            self._desk.screen.warn(f"not said ({pending.error}): {text}")
        self._desk.refresh()

    def _help(self, _: str) -> None:
        self._desk.screen.notice("\n".join(["commands:", *help_lines()]))

    def _join(self, argument: str) -> None:
        room = argument.split(maxsplit=1)[0].removeprefix("#")
        joined = self._desk.client.joined_rooms.get(fold(room))
        name = joined.room if joined is not None else self._desk.client.join(room).room
        self._desk.enter(name)

    def _leave(self, argument: str) -> None:
        current = self._desk.views.current
        if not argument and current is not None and current.peer is not None:
            self._close("")
            return
        room = argument.removeprefix("#") or (current.room if current is not None else "")
        if not room:
            raise ValueError("you are in no room")
        left = self._desk.client.leave(room)
        self._desk.screen.notice(f"you have left {left.room}")
        self._desk.leave(left.room)

    def _chat(self, argument: str) -> None:
        opened = self._desk.client.open(argument.split(maxsplit=1)[0].removeprefix("@"))
        self._desk.learn_name(opened.peer)
        self._desk.enter(opened.room, opened.peer)

    def _close(self, argument: str) -> None:
        current = self._desk.views.current
        peer = argument.removeprefix("@") or (current.peer if current is not None else None)
        if peer is None:
            raise ValueError("this is no conversation; /close NAME closes the one with NAME")
        view = self._desk.views.with_peer(peer)
        if view is not None and fold(view.room) not in self._desk.client.joined_rooms:
            self._desk.leave(view.room)  # a new session has not opened it yet: nothing to tell the server
            return
        closed = self._desk.client.close_conversation(peer)
        self._desk.screen.notice(f"conversation with {closed.peer} closed")
        self._desk.leave(closed.room)

    def _msg(self, argument: str) -> None:
        name, text = argument.split(maxsplit=1)
        self._send(text, None, name.removeprefix("@"))

    def _rooms(self, _: str) -> None:
        rooms = self._desk.client.rooms()
        lines = [f"{state.room}: {state.count} here, {state.seq} messages" for state in rooms]
        for state in rooms:
            self._desk.rooms[fold(state.room)] = state.room
        self._desk.screen.notice("\n".join(lines) or "no rooms")

    def _who(self, argument: str) -> None:
        current = self._desk.views.current
        room = argument.removeprefix("#") or None
        if room is None and current is not None and current.peer is None:
            room = current.room
        users = self._desk.client.who(room)
        for user in users:
            self._desk.learn_name(user.username)
        shown = ", ".join(f"{user.username} ({_state(user)})" for user in users)
        where = f"in {room}" if room is not None else "connected"
        self._desk.screen.notice(f"{len(users)} {where}: {shown}")

    def _servers(self, _: str) -> None:
        lines = [
            f"{server.node} at {server.address}: {server.clients} clients, RTT {_ms(server.rtt_ms)}"
            for server in self._desk.client.servers()
        ]
        self._desk.screen.notice("\n".join(lines))

    def _history(self, argument: str) -> None:
        if argument and not (argument.isascii() and argument.isdigit() and len(argument) < 9):
            raise ValueError("it goes like this: /history 50")
        view = self._desk.views.current
        if view is None:
            raise ValueError("you are in no room")
        limit = max(1, min(int(argument or 50), _MOST_HISTORY))
        past = self._desk.client.history(view.room, limit=limit + 1)  # one more tells whether there are older
        older = len(past) > limit
        past = past[-limit:]
        with self._desk.lock:
            self._desk.screen.notice(f"the last {len(past)} messages of {view.label}:")
            self._desk.show_past(view, past)
            if not older:
                self._desk.screen.notice("end of history")
            elif limit < _MOST_HISTORY:
                self._desk.screen.notice(f"older: /history {min(2 * limit, _MOST_HISTORY)}")

    def _rtt(self, argument: str) -> None:
        client = self._desk.client
        if not argument:
            client.ping()
            samples = client.samples
            self._desk.screen.notice(
                f"RTT to {client.address}, measured here: last {_ms(samples.last_ms)}, "
                f"min {_ms(samples.min_ms)}, p50 {_ms(samples.percentile_ms(50))}, "
                f"p99 {_ms(samples.percentile_ms(99))}, {samples.count} samples; "
                f"kernel {_ms(client.tcp_ms())}"
            )
        report = client.rtt(argument.removeprefix("@") or None)
        self._desk.screen.notice(
            f"RTT of {report.username}, measured by the server: last {_ms(report.last_ms)}, "
            f"min {_ms(report.min_ms)}, p50 {_ms(report.p50_ms)}, p99 {_ms(report.p99_ms)}, "
            f"{report.samples} samples; kernel {_ms(report.tcp_ms)}"
        )

    def _nick(self, argument: str) -> None:
        self._desk.client.rename(argument)

    def _ignore(self, argument: str) -> None:
        desk = self._desk
        if not argument:
            shown = ", ".join(desk.names.get(key, key) for key in sorted(desk.ignored)) or "nobody"
            desk.screen.notice(f"ignored: {shown}")
            return
        key = fold(argument.removeprefix("@"))
        if key in desk.ignored:
            desk.ignored.discard(key)
            desk.ignored_ids.clear()  # those of others are learned again with their next message
            desk.screen.notice(f"{argument} is no longer ignored")
        else:
            desk.ignored.add(key)
            desk.screen.notice(f"what {argument} says is hidden; /ignore {argument} shows it again")


def _state(user: User) -> str:
    return f"{_ms(user.rtt_ms)}, {lag(user.behind)}" if user.behind else _ms(user.rtt_ms)


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"
