"""The operator's console: reads the server's terminal, and takes part in the lobby as an ordinary session.

prompt_toolkit reads the terminal in a native thread, so that the event loop never waits for keys. Everything
else runs in the loop, and uses the core as any session does: commands in, events out.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.event import Event

from chat_protocol import LOBBY, commands, sentences
from chat_protocol.dialects import ndjson
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Error, MessageEvent, Opened, PongEvent, Presence, Welcome
from chat_server.console.link import ConsoleLink
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
    "A line is sent to the lobby.  /msg NAME text   message to one user   /who   connected users\n"
    "/rooms  list of rooms   /kick NAME  disconnect a user for a minute   /help  this help\n"
    "/quit  stop the server   bye  send 'bye' to the lobby, then stop the server"
)


def has_terminal() -> bool:
    """Return whether standard input and output are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()


class ConsoleOutbox:
    """The console's outbox: decodes the lines that a socket would get, and shows their events."""

    def __init__(self, show: Callable[[WireEvent], None], report: Callable[[Exception], None]) -> None:
        self.queue = True  # not None, so that `fan_out` calls `offer`
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

    def fail(self, error: Exception) -> None:
        """Report what cannot be shown."""
        self._report(error)


class Console(ConsoleLink):
    """The operator's session, and the thread that reads the terminal."""

    def __init__(
        self, hub: Hub, router: Router, stop: Callable[[str], None], log: FilteringBoundLogger
    ) -> None:
        self._hub = hub
        self._router = router
        self._stop = stop
        self._log = log
        self._terminal_lost = False
        self._lines: deque[str | OSError | None] = deque()
        self._line_ready = Event()
        self._wake: Any = gevent.get_hub().loop.async_(ref=False)
        self._prompt: Any = None
        self._thread = threading.Thread(target=self._read_terminal, name="console", daemon=True)
        self._greenlet: gevent.Greenlet | None = None
        self.session: Session = BaseSession(
            self, ConsoleOutbox(self._show_event, self._report_failure), hub.clock.monotonic()
        )

    def start(self) -> None:
        """Join the lobby, and start reading the terminal."""
        self._hub.lifecycle.activate_operator(self.session, self._hub.registry.new_identity())
        self._hub.rooms.join(self._hub.rooms.find_or_make(LOBBY), self.session)
        self._wake.start(self._line_ready.set)
        self._greenlet = gevent.spawn(self._serve)
        self._thread.start()

    def close(self) -> None:
        """Stop the prompt, and restore the terminal."""
        self._wake.stop()
        prompt = self._prompt
        if prompt is not None and prompt.app.is_running and prompt.app.loop is not None:
            prompt.app.loop.call_soon_threadsafe(lambda: prompt.app.exit(exception=EOFError()))
        self._thread.join(timeout=2)

    # The native thread

    def _read_terminal(self) -> None:
        """Queue each typed line; at the end None (Ctrl-C, Ctrl-D) or a lost terminal's error."""
        from prompt_toolkit import PromptSession  # noqa: PLC0415  only a console needs it
        from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

        self._prompt = PromptSession("server> ", erase_when_done=True)
        try:
            with patch_stdout(raw=False):
                while True:
                    self._enqueue_line(self._prompt.prompt(handle_sigint=False))
        except (EOFError, KeyboardInterrupt):
            self._enqueue_line(None)
        except OSError as error:
            self._enqueue_line(error)

    def _enqueue_line(self, line: str | OSError | None) -> None:
        self._lines.append(line)
        self._wake.send()

    # The event loop's thread

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
                if isinstance(line, OSError):
                    self._leave(line)
                    return
                try:
                    self._run_line(line.strip())
                except Refused as refusal:
                    self._print(f"! {refusal.message}")

    def _leave(self, error: OSError) -> None:
        """Log that the terminal is gone, and end the operator's session; the server goes on."""
        self._terminal_lost = True
        self._log.warning(LogEvent.CONSOLE_UNAVAILABLE, reason="terminal_lost", error=str(error))
        self._hub.wait_own_delivered(self.session)
        self._hub.lifecycle.persist_closings(self.session)
        self._hub.lifecycle.disconnect(self.session)

    def _run_line(self, line: str) -> None:
        """Execute a line: a message for the lobby, or a command. Raises `Refused`."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
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
            case "/msg" if " " in rest:
                name, _, text = rest.partition(" ")
                self._dispatch(commands.Message(message=text.strip(), to=name))
            case "/kick" if rest:
                self._kick(rest)
            case "/msg" | "/kick":
                raise Refused(ErrorCode.INVALID_FIELD, "usage: /msg NAME text, /kick NAME")
            case _ if word.startswith("/") and not word.startswith("//"):
                raise Refused(ErrorCode.UNKNOWN_TYPE, f"unknown command {word}; /help lists the commands")
            case _:
                text = line[1:] if line.startswith("//") else line
                self._dispatch(commands.Message(message=text, room=LOBBY))

    def _dispatch(self, command: commands.AnyCommand) -> None:
        self.session.read_at = self._hub.clock.monotonic()
        self._router.dispatch(self.session, command)

    def _kick(self, name: str) -> None:
        user = self._hub.directory.require_user(name)
        if user is self.session.identity:
            raise Refused(ErrorCode.INVALID_FIELD, "you cannot kick yourself; type bye to stop the server")
        self._hub.lifecycle.kick(user)
        self._print(f"* {to_printable(user.name)} was kicked, and cannot return for a minute")

    def _show_event(self, event: WireEvent) -> None:
        """Print an event; control characters of peers are escaped."""
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

    def _report_failure(self, error: Exception) -> None:
        self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _print(self, text: str) -> None:
        """Print. MUST NOT raise: a delivery that shows its messages here goes on to the other members."""
        if self._terminal_lost:
            return
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except OSError as error:
            self._terminal_lost = True
            with Path(os.devnull).open("wb") as null:  # what is still buffered is flushed at the exit
                os.dup2(null.fileno(), 1)
            self._enqueue_line(error)

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
