"""The interactive client: the prompt, its keys, and the threads around it.

The prompt runs in the main thread; inputs are executed in a second thread (actions.py) and events shown in a
third (event_presenter.py), so that a slow server never blocks typing.
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
from chat_client.options.exit_codes import ExitCode, exit_code
from chat_client.options.settings import Settings
from chat_client.terminal.actions import Actions
from chat_client.terminal.completion import candidates
from chat_client.terminal.event_presenter import EventPresenter
from chat_client.terminal.input_history import open_history
from chat_client.terminal.input_parser import CommandInput, GoodbyeInput, TextInput, UserInput, parse_input
from chat_client.terminal.screen import Screen, wants_colours
from chat_client.terminal.setup_prompt import open_session
from chat_client.terminal.state import ChatState
from chat_client.terminal.status_line import prompt_text, status_text
from chat_client.text.render import Painter, format_count
from chat_client.text.sanitize import sanitize
from chat_client.text.split_text import split_text
from chat_protocol.errors import ByeReason

PASTE_CONFIRM_LINE_BREAKS = 3
"""Line breaks in a message from which to ask for confirmation: a paste may contain unintended text."""

_FINISH_INPUTS_S = 5.0  # how long leaving waits for inputs that are being executed


_QUIT_TIMEOUT_S = 3.0  # how long leaving waits for the server


def run_terminal(settings: Settings, room: str) -> ExitCode:
    """Run the interactive client until the user leaves; return the exit code."""
    try:
        client = open_session(settings, room)
    except EOFError:
        return ExitCode.OK
    with patch_stdout(raw=True):  # raw: for our colours; the text of others has been sanitized
        terminal = TerminalApp(client, room)
        code = terminal.run()
    _print_unacknowledged([message.message for message in client.unacknowledged] + terminal.unsent)
    return code


class TerminalApp:
    """The interactive client: one session at one terminal."""

    def __init__(self, client: Client, room: str) -> None:
        self._client = client
        self._room = room
        self._app_session = get_app_session()
        screen = Screen(Painter(colours=wants_colours()), get_cwidth)
        self._state = ChatState(client, screen, self._refresh)
        self._presenter = EventPresenter(self._state)
        self._actions = Actions(self._state)
        self._inputs: queue.Queue[UserInput] = queue.Queue()
        self._current_input: UserInput | None = None  # being executed
        self._end_error: ChatError | None = None
        self._leaving = False
        self._dumb_terminal = is_dumb_terminal()
        self._prompt: PromptSession[str] = PromptSession(
            history=open_history(),
            completer=_TabCompleter(self._state),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            bottom_toolbar=self._status_bar,
            erase_when_done=True,  # the line reappears as the server's echo, its acknowledgement
            refresh_interval=1.0,
        )

    def run(self) -> ExitCode:
        """Read and execute lines until the end; return the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._close_prompt())
        self._state.screen.notice(
            f"connected to {self._client.address} as {self._client.username}; /help lists the commands"
        )
        self._state.enter(self._room)
        threading.Thread(target=self._run_inputs, name="chat-client typed lines", daemon=True).start()
        threading.Thread(target=self._present_events, name="chat-client events", daemon=True).start()
        code = self._read_lines()
        self._wait_for_inputs()
        with contextlib.suppress(KeyboardInterrupt):
            self._client.quit(timeout=_QUIT_TIMEOUT_S if self._client.connected else 0)
        return code

    @property
    def unsent(self) -> list[str]:
        """Lines that were typed and not executed when the session ended."""
        left = [self._current_input, *self._inputs.queue]
        return [typed.text for typed in left if isinstance(typed, TextInput)]

    def _read_lines(self) -> ExitCode:
        draft = ""
        armed = False  # whether Ctrl-C was the last key
        while self._end_error is None and not self._leaving:
            try:
                line = self._prompt.prompt(
                    lambda: prompt_text(self._state), default=draft, pre_run=self._close_if_ended
                )
                draft = ""
                armed = False
                if line.count("\n") >= PASTE_CONFIRM_LINE_BREAKS and not self._confirm_paste(line):
                    draft = line
                elif not self._handle_line(line):
                    break
                if self._dumb_terminal:
                    self._wait_for_inputs()  # a dumb terminal cannot print above an open prompt
            except KeyboardInterrupt:
                typed = self._prompt.default_buffer.text
                draft = ""
                if armed and not typed:
                    return ExitCode.OK
                armed = True
                self._state.screen.notice("press Ctrl-C again, or Ctrl-D, to leave")
            except EOFError:
                break
        if self._end_error is not None:
            self._state.screen.warn(f"the session has ended: {self._end_error}")
            bye = self._end_error.bye if isinstance(self._end_error, ConnectionLost) else None
            if bye is not None and bye.reason == ByeReason.KICKED:
                self._state.screen.warn(f"the name {self._client.username} is blocked for about a minute")
            return exit_code(self._end_error)
        return ExitCode.OK

    def _handle_line(self, line: str) -> bool:
        """Parse a line and queue it; return False if it ends the program."""
        typed = parse_input(line)
        if typed is None:
            return True
        leaves = isinstance(typed, GoodbyeInput) or (
            isinstance(typed, CommandInput) and typed.command.name == "quit"
        )
        if leaves:
            self._wait_for_inputs()  # the current room depends on the lines before
            current = self._state.views.current
            in_conversation = current is not None and current.peer is not None
            if not (isinstance(typed, GoodbyeInput) and typed.word == "bye" and in_conversation):
                return False
        self._queue_input(typed)
        return True

    def _queue_input(self, typed: UserInput) -> None:
        self._inputs.put(typed)

    def _confirm_paste(self, text: str) -> bool:
        lines = text.split("\n")
        self._state.screen.notice("\n".join([f"{len(lines)} lines:", *(f"  {line}" for line in lines)]))
        pieces = len(split_text(text.strip("\n")))
        whole = "one message" if pieces <= 1 else f"{pieces} messages"
        question = f"Send these {len(lines)} lines as {whole}? [y/N] "
        answer = PromptSession[str](erase_when_done=True).prompt(question)
        return answer.strip().lower() in {"y", "yes"}

    def _run_inputs(self) -> None:
        while True:
            typed = self._current_input = self._inputs.get()
            try:
                self._actions.carry_out(typed)
            except Exception as error:  # noqa: BLE001  a bug must not end the chat or print a traceback
                self._state.screen.warn(f"internal error in the client: {error!r}")
            finally:
                self._current_input = None
                self._inputs.task_done()

    def _present_events(self) -> None:
        try:
            for event in self._client:
                try:
                    self._presenter.present_event(event)
                except Exception as error:  # noqa: BLE001  as above
                    self._state.screen.warn(f"internal error in the client: {error!r}")
        except ChatError as error:
            self._end_error = error
        else:
            self._end_error = Ended("good-bye")
        self._close_prompt()

    def _wait_for_inputs(self) -> None:
        """Wait until all queued inputs have been executed, at most `_FINISH_INPUTS_S`."""
        deadline = time.monotonic() + _FINISH_INPUTS_S
        while self._inputs.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _status_bar(self) -> str:
        breaks = self._prompt.default_buffer.text.count("\n")
        if breaks >= PASTE_CONFIRM_LINE_BREAKS:
            return f" {breaks + 1} lines: Enter asks before sending, Ctrl-C discards them"
        return status_text(self._state, self._prompt.app.output.get_size().columns, get_cwidth)

    def _close_if_ended(self) -> None:
        if self._end_error is not None or self._leaving:
            self._close_prompt()

    def _close_prompt(self) -> None:
        """Make the open prompt return. Thread-safe."""
        self._leaving = True
        app = self._app_session.app
        if app is not None and app.loop is not None:
            app.loop.call_soon_threadsafe(_exit_prompt, self._app_session)

    def _refresh(self) -> None:
        app = self._app_session.app
        if app is not None:
            app.invalidate()


class _TabCompleter(Completer):
    def __init__(self, state: ChatState) -> None:
        self._state = state

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield the completions for Tab."""
        del complete_event
        names = [*self._state.names.values()]
        rooms = [*self._state.rooms.values()]
        word, found = candidates(document.text_before_cursor, names, rooms)
        for candidate in found:
            yield Completion(sanitize(candidate), start_position=-len(word))


def _exit_prompt(session: AppSession) -> None:
    app = session.app
    if app is not None and app.is_running and app.future is not None and not app.future.done():
        app.exit(exception=EOFError)


def _print_unacknowledged(left: list[str]) -> None:
    """Print all lines that were not acknowledged, so that the user still has them."""
    if not left:
        return
    was = "was" if len(left) == 1 else "were"
    print(f"{format_count(len(left), 'line')} {was} not acknowledged by the server and may not have arrived:")  # noqa: T201  the prompt is closed
    for text in left:
        print(f"  {sanitize(text)}".replace("\n", "\n  "))  # noqa: T201  as above
