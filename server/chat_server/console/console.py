"""The operator's console: takes part from the server's terminal as an ordinary session.

A native thread reads and writes the terminal (terminal.py). Everything else runs in the event loop, and uses
the core as any session does: commands in, events out.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.event import Event

from chat_protocol import LOBBY, commands, sentences
from chat_protocol.dialects import ndjson
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Error, Joined, Left, MessageEvent, Opened, PongEvent, Presence, Welcome
from chat_protocol.names import fold
from chat_server.console.link import ConsoleLink
from chat_server.console.terminal import OperatorTerminal
from chat_server.core.chat.deletion import delete_room
from chat_server.core.sessions.session import BaseSession
from chat_server.observability.event_log import to_printable
from chat_server.vocabulary import LogEvent

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from chat_protocol.events import Event as WireEvent
    from chat_server.core.chat.hub import Hub
    from chat_server.core.commands.router import Router
    from chat_server.core.delivery.room import Session

HELP: Final = (
    "A line is sent to the lobby, or to the room that the prompt names.\n"
    "/join ROOM  enter a room, or speak in it again   /leave [ROOM]  leave it\n"
    "/msg NAME text   message to one user   /who   connected users\n"
    "/rooms  list of rooms   /kick NAME  disconnect a user for a minute   /help  this help\n"
    "/delete-room NAME  delete a room and its messages\n"
    "/quit  stop the server   bye  send 'bye' to the lobby, then stop the server"
)


class ConsoleOutbox:
    """The console's outbox: decodes the lines that a socket would get, and shows their events."""

    def __init__(self, show: Callable[[WireEvent], None], report: Callable[[Exception], None]) -> None:
        self.queue = True  # not None, so that `FanOut` calls `offer`
        self.queued_bytes = 0
        self.progress_at = 0.0
        self.full = self.closed = False
        self._show = show
        self._report = report

    def offer(self, data: bytes) -> bool:
        """Show the events in `data`; always accepts them."""
        self.put(data)
        return True

    def put(self, data: bytes) -> None:
        """Show the events in `data`. MUST NOT raise: a delivery goes on to the other members."""
        try:
            for line in data.splitlines():
                event = ndjson.decode_event(line)
                if event is not None:
                    self._show(event)
        except Exception as error:  # noqa: BLE001  what cannot be shown must not stop others
            self.fail(error)

    def send_deferred(self) -> None:
        """Do nothing: all has been shown."""

    def fail(self, error: Exception) -> None:
        """Report what cannot be shown."""
        self._report(error)


class Console(ConsoleLink):
    """The operator's session."""

    def __init__(
        self, hub: Hub, router: Router, stop: Callable[[str], None], log: FilteringBoundLogger
    ) -> None:
        self._hub = hub
        self._router = router
        self._stop = stop
        self._log = log
        self._room = LOBBY
        self._line_refused = False
        self._lines: deque[str | BaseException | None] = deque()
        self._line_ready = Event()
        self._wake: Any = gevent.get_hub().loop.async_(ref=False)
        self._terminal = OperatorTerminal(self._enqueue, self._enqueue)
        self._greenlet: gevent.Greenlet | None = None
        self.session: Session = BaseSession(
            self, ConsoleOutbox(self._show_event, self._report_failure), hub.clock.monotonic()
        )

    def start(self) -> None:
        """Join the lobby, and start reading the terminal."""
        self._hub.lifecycle.activate_operator(self.session, self._hub.registry.new_identity())
        self._hub.rooms.join(self._hub.rooms.find_or_make(LOBBY), self.session)
        self._wake.start(self._line_ready.set)
        self._print(HELP)
        self._greenlet = gevent.spawn(self._serve)
        self._terminal.start()

    def close(self) -> None:
        """Stop the prompt, and restore the terminal."""
        self._wake.stop()
        self._terminal.close()

    def _enqueue(self, line: str | BaseException | None) -> None:
        """Hand a line, or the end of the terminal, to the loop. Called by the terminal's thread."""
        self._lines.append(line)
        self._wake.send()

    # The event loop's thread

    def _serve(self) -> None:
        while True:
            self._line_ready.wait()
            self._line_ready.clear()
            while self._lines:
                line = self._lines.popleft()
                if line is None:
                    self._stop("console")
                    return
                if isinstance(line, BaseException):
                    self._leave(line)
                    return
                self._handle(line)

    def _handle(self, line: str) -> None:
        """Execute a line; if it is refused, say why. It is in the prompt's history."""
        self._line_refused = False
        try:
            self._run_line(_without_invisible_start(line).rstrip())
        except Refused as refusal:
            self._refuse(refusal.message)
        except Exception as error:  # noqa: BLE001  a bug costs this line only
            self._report_failure(error)
            self._refuse(f"an internal error; see internal_error in the log ({type(error).__name__})")
        if self._line_refused and _says_something(line):
            self._print("! it was not sent; the Up key brings the line back")

    def _refuse(self, sentence: str) -> None:
        self._line_refused = True
        self._print(f"! {to_printable(sentence)}")

    def _leave(self, error: BaseException) -> None:
        """Log that the terminal is gone, and end the operator's session; the server goes on."""
        reason = "terminal_lost" if isinstance(error, OSError) else "terminal_failed"
        self._log.warning(LogEvent.CONSOLE_UNAVAILABLE, reason=reason, error=str(error) or repr(error))
        self._hub.wait_own_delivered(self.session)
        self._hub.lifecycle.persist_closings(self.session)
        self._hub.lifecycle.disconnect(self.session)

    def _run_line(self, line: str) -> None:
        """Execute a line: a message for the current room, or a command. Raises `Refused`."""
        word, *others = line.split(maxsplit=1)[:2] or [""]
        rest = others[0] if others else ""
        match word:
            case "":
                return
            case "bye" | "quit" | "/quit" if not rest:
                if word == "bye":
                    self._dispatch(commands.Message(message="bye", room=LOBBY))
                    self._hub.wait_own_delivered(self.session)
                self._stop("console")
            case "/help":
                self._print(HELP)
            case "/who":
                self._dispatch(commands.Who())
            case "/rooms":
                self._dispatch(commands.Rooms())
            case "/join" if rest:
                self._dispatch(commands.Join(room=rest))
            case "/leave":
                self._leave_room(rest or self._room)
            case "/msg" if len(rest.split(maxsplit=1)) == 2:
                name, text = rest.split(maxsplit=1)
                self._dispatch(commands.Message(message=text, to=name))
            case "/kick" if rest:
                self._kick(rest)
            case "/delete-room" if rest:
                self._delete_room(rest)
            case "/join":
                raise Refused(ErrorCode.INVALID_FIELD, "usage: /join ROOM")
            case "/msg" | "/kick" | "/delete-room":
                raise Refused(ErrorCode.INVALID_FIELD, "usage: /msg NAME text, /kick NAME, /delete-room NAME")
            case _ if word.startswith("/") and not word.startswith("//"):
                raise Refused(ErrorCode.UNKNOWN_TYPE, f"unknown command {word}; /help lists the commands")
            case _:
                text = line[1:] if line.startswith("//") else line
                self._dispatch(commands.Message(message=text, room=self._room))

    def _dispatch(self, command: commands.AnyCommand) -> None:
        self.session.read_at = self._hub.clock.monotonic()
        self._router.dispatch(self.session, command)

    def _leave_room(self, name: str) -> None:
        if fold(name) == LOBBY:
            raise Refused(ErrorCode.FORBIDDEN, "the console stays in the lobby")
        self._dispatch(commands.Leave(room=name))

    def _speak_in(self, room: str) -> None:
        self._room = room
        self._terminal.set_prompt("server> " if room == LOBBY else f"server ({to_printable(room)})> ")

    def _kick(self, name: str) -> None:
        user = self._hub.directory.require_user(name)
        if user is self.session.identity:
            raise Refused(ErrorCode.INVALID_FIELD, "you cannot kick yourself; type bye to stop the server")
        self._hub.lifecycle.kick(user)
        self._print(f"* {to_printable(user.name)} was kicked, and cannot return for a minute")

    def _delete_room(self, name: str) -> None:
        deleted = delete_room(self._hub, self.session, name)
        self._print(
            f"* {to_printable(deleted.name)} was deleted, with its messages up to {deleted.head}; "
            f"{deleted.members} members were removed"
        )
        if not deleted.is_stored:
            self._print("! the message store cannot be written just now: a restart before it can undoes this")

    def _show_event(self, event: WireEvent) -> None:
        """Print an event; control characters of peers are escaped."""
        if isinstance(event, Joined):
            self._speak_in(event.room)
        elif isinstance(event, Left) and event.room == self._room:
            self._speak_in(LOBBY)
        match event:
            case MessageEvent():
                minute = int(event.timestamp // 60)
                where = f"({event.room}) " if event.room != LOBBY else ""
                lines = [to_printable(line) for line in event.message.split("\n")]
                said = "\n        ".join(lines)
                self._print(
                    f"[{minute // 60 % 24:02}:{minute % 60:02}] {where}{to_printable(event.username)}: {said}"
                )
            case Opened() if event.by == self.session.name:
                return
            case Welcome() | PongEvent():
                return
            case Error():
                self._refuse(event.message)
            case Presence() if not (event.joined or event.left):
                return
            case _:
                for sentence in sentences.event_sentences(event):
                    self._print(f"* {to_printable(sentence)}")

    def _report_failure(self, error: Exception) -> None:
        self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _print(self, text: str) -> None:
        self._terminal.show(text + "\n")

    # The port `Link`: called by the core

    address = "console"

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Stop the server: the operator has no other way to leave, and no use for `after` (seconds)."""
        del message, after, ref
        self._stop(reason)


def _without_invisible_start(line: str) -> str:
    """Return a line without what nobody sees at its start: a pasted byte order mark would hide a command."""
    start = 0
    while start < len(line) and (line[start].isspace() or unicodedata.category(line[start]) == "Cf"):
        start += 1
    return line[start:]


def _says_something(line: str) -> bool:
    """Return whether a line is a message, public or private, and no other command."""
    return not line.startswith("/") or line.startswith(("//", "/msg "))
