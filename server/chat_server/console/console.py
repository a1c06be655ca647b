"""The operator's seat: the person at the server's terminal, a member of the lobby like any other.

Knows the terminal (prompt_toolkit, in a native thread of its own, so that the loop never waits for keys) and
speaks to the core as any session does: commands in, events out. Must not know sockets.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.event import Event

from chat_protocol import LOBBY, commands, sentences
from chat_protocol.dialects import ndjson
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Error, MessageEvent, Opened, PongEvent, Presence, Welcome
from chat_server.console.link import NoNetwork
from chat_server.core.sessions.session import Session
from chat_server.observability.event_log import to_printable

if TYPE_CHECKING:
    from chat_protocol.events import Event as WireEvent
    from chat_server.core.chat.hub import Hub
    from chat_server.core.commands.router import Router

HELP: Final = (
    "A line goes to everyone in the lobby.  /msg NAME text   to one user   /who   who is connected\n"
    "/rooms  which rooms there are   /kick NAME  send somebody away for a minute   /help  this\n"
    "/quit  stop the server   bye  say good-bye to the lobby, then stop the server"
)


def has_terminal() -> bool:
    """Tell whether somebody can type and read here."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()


class Outbox:
    """The console's outbox: takes chunks of lines, as a socket would, and shows the events on them."""

    def __init__(self, show: Callable[[WireEvent], None]) -> None:
        self.queue = True  # so that the fan-out hands everything to `offer`
        self.waiting = 0
        self.moved_at = 0.0
        self.full = self.shut = False
        self._show = show

    def offer(self, data: bytes) -> bool:
        """Show the events in `data`."""
        self.put(data)
        return True

    def put(self, data: bytes) -> None:
        """Show the events in `data`."""
        for line in data.splitlines():
            event = ndjson.decode_event(line)
            if event is not None:
                self._show(event)


class Console(NoNetwork):
    """The operator's session, and the thread that reads the terminal."""

    def __init__(self, hub: Hub, router: Router, stop: Callable[[str], None]) -> None:
        self._hub = hub
        self._router = router
        self._stop = stop
        self._lines: deque[str | None] = deque()
        self._line_ready = Event()
        self._wake: Any = gevent.get_hub().loop.async_(ref=False)
        self._prompt: Any = None
        self._thread = threading.Thread(target=self._read_terminal, name="console", daemon=True)
        self._greenlet: gevent.Greenlet | None = None
        self.session = Session(self, Outbox(self._show_event), hub.clock.monotonic())

    def start(self) -> None:
        """Take the seat."""
        self._hub.operator(self.session)
        self._hub.join(self._hub.room(LOBBY), self.session)
        self._wake.start(self._line_ready.set)
        self._greenlet = gevent.spawn(self._serve)
        self._thread.start()

    def close(self) -> None:
        """Give the terminal back."""
        self._wake.stop()
        prompt = self._prompt
        if prompt is not None and prompt.app.is_running and prompt.app.loop is not None:
            prompt.app.loop.call_soon_threadsafe(lambda: prompt.app.exit(exception=EOFError()))
        self._thread.join(timeout=2)

    # The native thread

    def _read_terminal(self) -> None:
        """Hand on what is typed; None at the end (Ctrl-C, Ctrl-D)."""
        from prompt_toolkit import PromptSession  # noqa: PLC0415  only a console needs it
        from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

        self._prompt = PromptSession("server> ", erase_when_done=True)
        try:
            with patch_stdout(raw=False):
                while True:
                    self._enqueue_line(self._prompt.prompt(handle_sigint=False))
        except (EOFError, KeyboardInterrupt):
            self._enqueue_line(None)

    def _enqueue_line(self, line: str | None) -> None:
        self._lines.append(line)
        self._wake.send()

    # The hub's thread

    def _serve(self) -> None:
        self._print(HELP)
        while True:
            self._line_ready.wait()
            self._line_ready.clear()
            while self._lines:
                line = self._lines.popleft()
                if line is None:
                    self._stop("console")
                    return
                try:
                    self._run_line(line.strip())
                except Refused as refusal:
                    self._print(f"! {refusal.message}")

    def _run_line(self, line: str) -> None:
        """Do what a line says."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        match word:
            case "":
                return
            case "bye" | "quit" | "/quit" if not rest:
                if word == "bye":
                    self._dispatch(commands.Message(message="bye", room=LOBBY))
                    self._hub.settle(self.session)
                self._stop("console")
            case "/help":
                self._print(HELP)
            case "/who":
                self._dispatch(commands.Who())
            case "/rooms":
                self._dispatch(commands.Rooms())
            case "/msg" if " " in rest:
                name, _, text = rest.partition(" ")
                self._dispatch(commands.Message(message=text.strip(), to=name))
            case "/kick" if rest:
                self._kick(rest)
            case "/msg" | "/kick":
                raise Refused(ErrorCode.INVALID_FIELD, "it goes like this: /msg NAME text, /kick NAME")
            case _ if word.startswith("/") and not word.startswith("//"):
                raise Refused(ErrorCode.UNKNOWN_TYPE, f"no command {word}; /help lists them")
            case _:
                text = line[1:] if line.startswith("//") else line
                self._dispatch(commands.Message(message=text, room=LOBBY))

    def _dispatch(self, command: commands.AnyCommand) -> None:
        self.session.read_at = self._hub.clock.monotonic()
        self._router.dispatch(self.session, command)

    def _kick(self, name: str) -> None:
        user = self._hub.names.user(name)
        if user is self.session:
            raise Refused(ErrorCode.INVALID_FIELD, "to leave, type bye")
        self._hub.kick(user)
        self._print(f"* {to_printable(user.name)} was asked to leave, and stays out for a minute")

    def _show_event(self, event: WireEvent) -> None:
        """Put an event on the terminal; peers' control characters stay what they are: text."""
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
                self._print(f"! {to_printable(event.message)}")
            case Presence() if not (event.joined or event.left):
                return
            case _:
                for sentence in sentences.event_sentences(event):
                    self._print(f"* {to_printable(sentence)}")

    @staticmethod
    def _print(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    # Link: what the core asks of a connection

    address = "console"

    def end(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Stop the server: the operator has no other way to leave."""
        del message, after, ref
        self._stop(reason)
