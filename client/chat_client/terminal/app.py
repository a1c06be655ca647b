"""The interactive client at a terminal: the prompt, its keys, and the threads around it.

Knows prompt_toolkit. Must not know what commands or events mean (terminal/actions.py,
terminal/event_presenter.py). The prompt runs in the main thread; typed lines are carried out in one thread
and events shown in another, so that a slow server never stops the typing.
"""

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.application.current import AppSession, get_app_session
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.utils import get_cwidth, is_dumb_terminal

from chat_client.client import Client
from chat_client.errors import ChatError, ConnectionLost, Ended
from chat_client.options.exit_codes import Exit, exit_code
from chat_client.options.settings import Settings
from chat_client.terminal.actions import Actions
from chat_client.terminal.completion import candidates
from chat_client.terminal.event_presenter import Incoming
from chat_client.terminal.input_history import open_history
from chat_client.terminal.input_parser import Do, Farewell, Say, Typed, understand
from chat_client.terminal.screen import Screen, wants_colours
from chat_client.terminal.setup_prompt import open_session
from chat_client.terminal.state import Desk
from chat_client.terminal.status_line import prompt_text, status_text
from chat_client.text.render import Painter, counted
from chat_client.text.sanitize import harmless
from chat_client.text.split_text import split_text
from chat_protocol.errors import ByeReason

PASTE_ASKS = 3
"""Lines in one message above which the person is asked first: a paste may hold what was not meant."""

_SETTLE = 5.0  # seconds that leaving waits for lines that are still being carried out


_GOODBYE = 3.0  # seconds that leaving waits for the server: a person who leaves wants to be gone


def run_terminal(settings: Settings, room: str) -> Exit:
    """Talk until the person leaves; return the exit code."""
    try:
        client = open_session(settings, room)
    except EOFError:
        return Exit.OK
    with patch_stdout(raw=True):  # raw: our own colours; what others wrote has been made harmless
        terminal = Terminal(client, room)
        code = terminal.run()
    _account([message.message for message in client.unacknowledged] + terminal.unsent)
    return code


class Terminal:
    """One stay in a chat."""

    def __init__(self, client: Client, room: str) -> None:
        self._client = client
        self._room = room
        self._session_of_app = get_app_session()
        screen = Screen(Painter(colours=wants_colours()), get_cwidth)
        self._desk = Desk(client, screen, self._refresh)
        self._incoming = Incoming(self._desk)
        self._actions = Actions(self._desk)
        self._typed: queue.Queue[Typed] = queue.Queue()
        self._doing: Typed | None = None  # what is being carried out
        self._over: ChatError | None = None
        self._leaving = False
        self._plain = is_dumb_terminal()
        self._prompt: PromptSession[str] = PromptSession(
            history=open_history(),
            completer=_Tab(self._desk),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            bottom_toolbar=self._status,
            erase_when_done=True,  # the line comes back as the server's echo: that is its acknowledgement
            refresh_interval=1.0,
        )

    def run(self) -> Exit:
        """Read lines until the end; return the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._end_prompt())
        self._desk.screen.notice(
            f"connected to {self._client.address} as {self._client.username}; /help lists the commands"
        )
        self._desk.enter(self._room)
        threading.Thread(target=self._work, name="chat-client typed lines", daemon=True).start()
        threading.Thread(target=self._listen, name="chat-client events", daemon=True).start()
        code = self._read_lines()
        self._settle()
        with contextlib.suppress(KeyboardInterrupt):
            self._client.quit(timeout=_GOODBYE if self._client.connected else 0)
        return code

    @property
    def unsent(self) -> list[str]:
        """What was typed and not carried out when the session ended."""
        left = [self._doing, *self._typed.queue]
        return [typed.text for typed in left if isinstance(typed, Say)]

    def _read_lines(self) -> Exit:
        draft = ""
        armed = False  # whether Ctrl-C was the last key
        while self._over is None and not self._leaving:
            try:
                line = self._prompt.prompt(
                    lambda: prompt_text(self._desk), default=draft, pre_run=self._check_over
                )
                draft = ""
                armed = False
                if line.count("\n") >= PASTE_ASKS and not self._agreed(line):
                    draft = line
                elif not self._accept(line):
                    break
                if self._plain:
                    self._settle()  # nothing can be put above a prompt that is there already
            except KeyboardInterrupt:
                typed = self._prompt.default_buffer.text
                draft = ""
                if armed and not typed:
                    return Exit.OK
                armed = True
                self._desk.screen.notice("Ctrl-C again, or Ctrl-D, leaves")
            except EOFError:
                break
        if self._over is not None:
            self._desk.screen.warn(f"the session has ended: {self._over}")
            bye = self._over.bye if isinstance(self._over, ConnectionLost) else None
            if bye is not None and bye.reason == ByeReason.KICKED:
                self._desk.screen.warn(f"the name {self._client.username} stays out for about a minute")
            return exit_code(self._over)
        return Exit.OK

    def _accept(self, line: str) -> bool:
        """Pass a line on; tell whether the person stays."""
        typed = understand(line)
        if typed is None:
            return True
        leaves = isinstance(typed, Farewell) or (isinstance(typed, Do) and typed.command.name == "quit")
        if leaves:
            self._settle()  # which room is in front depends on the lines before
            current = self._desk.views.current
            in_conversation = current is not None and current.peer is not None
            if not (isinstance(typed, Farewell) and typed.word == "bye" and in_conversation):
                return False
        self._put(typed)
        return True

    def _put(self, typed: Typed) -> None:
        self._typed.put(typed)

    def _agreed(self, text: str) -> bool:
        lines = text.split("\n")
        self._desk.screen.notice("\n".join([f"{len(lines)} lines:", *(f"  {line}" for line in lines)]))
        pieces = len(split_text(text.strip("\n")))
        whole = "one message" if pieces <= 1 else f"{pieces} messages"
        question = f"Send these {len(lines)} lines as {whole}? [y/N] "
        answer = PromptSession[str](erase_when_done=True).prompt(question)
        return answer.strip().lower() in {"y", "yes"}

    def _work(self) -> None:
        while True:
            typed = self._doing = self._typed.get()
            try:
                self._actions.carry_out(typed)
            except Exception as error:  # noqa: BLE001  a mistake of ours must not end the chat or show a traceback
                self._desk.screen.warn(f"that went wrong in the client itself: {error!r}")
            finally:
                self._doing = None
                self._typed.task_done()

    def _listen(self) -> None:
        try:
            for event in self._client:
                try:
                    self._incoming.take(event)
                except Exception as error:  # noqa: BLE001  as above
                    self._desk.screen.warn(f"that went wrong in the client itself: {error!r}")
        except ChatError as error:
            self._over = error
        else:
            self._over = Ended("good-bye")
        self._end_prompt()

    def _settle(self) -> None:
        """Wait until all typed lines have been carried out, within reason."""
        deadline = time.monotonic() + _SETTLE
        while self._typed.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _status(self) -> str:
        breaks = self._prompt.default_buffer.text.count("\n")
        if breaks >= PASTE_ASKS:
            return f" {breaks + 1} lines: Enter asks before they are sent, Ctrl-C drops them"
        return status_text(self._desk, self._prompt.app.output.get_size().columns, get_cwidth)

    def _check_over(self) -> None:
        if self._over is not None or self._leaving:
            self._end_prompt()

    def _end_prompt(self) -> None:
        """Let the open prompt return, from any thread."""
        self._leaving = True
        app = self._session_of_app.app
        if app is not None and app.loop is not None:
            app.loop.call_soon_threadsafe(_exit, self._session_of_app)

    def _refresh(self) -> None:
        app = self._session_of_app.app
        if app is not None:
            app.invalidate()


class _Tab(Completer):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what Tab offers."""
        del complete_event
        names = [*self._desk.names.values()]
        rooms = [*self._desk.rooms.values()]
        word, found = candidates(document.text_before_cursor, names, rooms)
        for candidate in found:
            yield Completion(harmless(candidate), start_position=-len(word))


def _exit(session: AppSession) -> None:
    app = session.app
    if app is not None and app.is_running and app.future is not None and not app.future.done():
        app.exit(exception=EOFError)


def _account(left: list[str]) -> None:
    """Say what is not known to have arrived, all of it, so that nothing is lost."""
    if not left:
        return
    was = "was" if len(left) == 1 else "were"
    print(f"{counted(len(left), 'line')} {was} not acknowledged by the server and may not have arrived:")  # noqa: T201  the prompt is closed
    for text in left:
        print(f"  {harmless(text)}".replace("\n", "\n  "))  # noqa: T201  as above
