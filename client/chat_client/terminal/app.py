"""The interactive client: the prompt, its keys, and the threads around it.

The prompt runs in the main thread; inputs are executed in a second thread (actions.py) and events shown in a
third (event_presenter.py), so that a slow server never blocks typing.
"""

import codecs
import contextlib
import io
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import get_cwidth, is_dumb_terminal

from chat_cli.streams import OutputError
from chat_client.client import Client
from chat_client.errors import ChatError, ConnectionLost, Ended
from chat_client.options.exit_codes import ExitCode, exit_code
from chat_client.options.settings import Settings
from chat_client.options.state_folder import state_folder
from chat_client.options.termination import termination
from chat_client.terminal.actions import Actions
from chat_client.terminal.completion import candidates
from chat_client.terminal.event_presenter import EventPresenter
from chat_client.terminal.input_history import open_history
from chat_client.terminal.input_parser import (
    CommandInput,
    GoodbyeInput,
    TextInput,
    UserInput,
    count_lines,
    input_problem,
    parse_input,
    recover_text,
)
from chat_client.terminal.prompt import LinePrompt
from chat_client.terminal.screen import Screen, wants_colours
from chat_client.terminal.setup_prompt import open_session
from chat_client.terminal.state import ChatState
from chat_client.terminal.status_line import prompt_text, status_text
from chat_client.text.render import Painter, format_count
from chat_client.text.sanitize import sanitize
from chat_client.text.split_text import split_text
from chat_protocol.errors import ByeReason

MAX_PASTED_LINES = 3
"""Lines in a message above which to ask for confirmation: a paste may contain unintended text."""

_FINISH_INPUTS_S = 5.0  # how long leaving waits for inputs that are being executed


_QUIT_TIMEOUT_S = 3.0  # how long leaving waits for the server


def run_terminal(settings: Settings, room: str) -> ExitCode:
    """Run the interactive client until the user leaves; return the exit code."""
    for stream in (sys.stdin, sys.stdout):
        # In an ASCII locale the terminal most probably is one of UTF-8 (PEP 538, PEP 540).
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name == "ascii":
            stream.reconfigure(
                encoding="utf-8", errors="surrogateescape" if stream is sys.stdin else "replace"
            )
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
        screen = Screen(Painter(colours=wants_colours()), get_cwidth)
        self._state = ChatState(client, screen, self._refresh)
        self._presenter = EventPresenter(self._state)
        # With their numbers, and whether they were typed ahead: see `HeldLines`.
        self._inputs: queue.Queue[tuple[UserInput, int, bool]] = queue.Queue()
        self._current_input: UserInput | None = None  # being executed
        self._end_error: ChatError | None = None
        self._leaving = False
        self._dumb_terminal = is_dumb_terminal()
        self._prompt = LinePrompt(
            lambda: prompt_text(self._state),
            self._status_bar,
            _TabCompleter(self._state),
            open_history(state_folder(), screen.warn),
            self._report_bug,
        )
        put_back = self._prompt.put_back
        self._actions = Actions(self._state, (lambda _: None) if self._dumb_terminal else put_back)

    def run(self) -> ExitCode:
        """Read and execute lines until the end; return the exit code."""
        for number, handler in (
            (signal.SIGINT, lambda *_: self._prompt.interrupt()),
            (signal.SIGTERM, self._handle_termination),
            (signal.SIGHUP, self._handle_termination),
        ):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
        code = ExitCode.OK
        try:
            self._start()
            code = self._read_lines()
            self._wait_for_inputs()
            self._warn_of_conversations()
        except (OSError, OutputError):
            pass  # the terminal is gone: there is nobody to show it to
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                self._client.quit(timeout=_QUIT_TIMEOUT_S if self._client.connected else 0)
        return code

    @property
    def unsent(self) -> list[str]:
        """Lines that were typed and not executed when the session ended."""
        left = [self._current_input, *(typed for typed, *_ in self._inputs.queue)]
        return [typed.text for typed in left if isinstance(typed, TextInput)]

    def _start(self) -> None:
        client = self._client
        resumed = ", in the session that was cut off" if client.welcome.resumed else ""
        self._state.screen.notice(
            f"connected to {client.address} as {client.username}{resumed}; /help lists the commands"
        )
        for room in client.welcome.rooms if resumed else ():
            self._state.views.add(room.room, room.peer).seq = room.seq
        self._state.enter(self._room)
        threading.Thread(target=self._run_inputs, name="chat-client typed lines", daemon=True).start()
        threading.Thread(target=self._present_events, name="chat-client events", daemon=True).start()

    def _read_lines(self) -> ExitCode:
        draft = ""
        armed = False  # whether Ctrl-C was the last key
        while self._end_error is None and not self._leaving:
            try:
                line = recover_text(self._prompt.read(draft))
                draft = ""
                armed = False
                if not self._accept(line):
                    draft = "" if self._dumb_terminal else line  # it would not be shown there
                elif not self._handle_line(line):
                    break
                if self._dumb_terminal:
                    self._wait_for_inputs()  # a dumb terminal cannot print above an open prompt
            except KeyboardInterrupt:
                typed = self._prompt.text
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

    def _accept(self, line: str) -> bool:
        """Return whether a line may be executed; if not, it is put back."""
        typed = parse_input(line)
        problem = None if typed is None else input_problem(typed)
        if problem is not None:
            self._state.screen.warn(f"not sent: {problem}")
            return False
        return count_lines(line) <= MAX_PASTED_LINES or self._confirm_paste(line)

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
        self._inputs.put((typed, self._state.held_lines.number_input(), self._prompt.typed_ahead))
        return True

    def _confirm_paste(self, text: str) -> bool:
        lines = text.strip("\n").split("\n")
        self._state.screen.notice("\n".join([f"{len(lines)} lines:", *(f"  {line}" for line in lines)]))
        pieces = len(split_text(text.strip("\n")))
        whole = "one message" if pieces <= 1 else f"{pieces} messages"
        answer = self._prompt.ask(f"Send these {len(lines)} lines as {whole}? [y/N] ")
        return answer.strip().lower() in {"y", "yes"}

    def _warn_of_conversations(self) -> None:
        """Say what leaving ends."""
        peers = sorted(view.peer for view in self._client.joined_rooms.values() if view.peer)
        if peers and self._end_error is None:
            self._state.screen.notice(
                f"you leave your conversation{'s' if len(peers) > 1 else ''} with {', '.join(peers)}: "
                "neither side can open it again, and you cannot read what was written there any more"
            )

    def _run_inputs(self) -> None:
        while True:
            typed, number, typed_ahead = self._inputs.get()
            self._current_input = typed
            try:
                self._actions.carry_out(typed, number, typed_ahead=typed_ahead)
            except Exception as error:  # noqa: BLE001  a bug must not end the chat or print a traceback
                self._report_bug(error)
            finally:
                self._current_input = None
                self._inputs.task_done()

    def _present_events(self) -> None:
        try:
            for event in self._client:
                try:
                    self._presenter.present_event(event)
                except Exception as error:  # noqa: BLE001  as above
                    self._report_bug(error)
        except ChatError as error:
            self._end_error = error
        else:
            self._end_error = Ended("good-bye")
        self._leave()

    def _report_bug(self, error: BaseException) -> None:
        if isinstance(error, (OSError, OutputError)):  # the terminal is gone
            self._leave()
        else:
            self._state.screen.warn(f"internal error in the client: {error!r}")

    def _wait_for_inputs(self) -> None:
        """Wait until all queued inputs have been executed, at most `_FINISH_INPUTS_S`."""
        deadline = time.monotonic() + _FINISH_INPUTS_S
        while self._inputs.unfinished_tasks and time.monotonic() < deadline:
            if self._prompt.pop_interrupt():
                return
            time.sleep(0.01)

    def _status_bar(self) -> str:
        if self._prompt.receives_paste:
            return " receiving a paste; Ctrl-C ends it if it never does"
        lines = count_lines(self._prompt.text)
        if lines > MAX_PASTED_LINES:
            return f" {lines} lines: Enter asks before sending, Ctrl-C discards them"
        return status_text(self._state, self._prompt.columns, get_cwidth)

    def _handle_termination(self, number: int, frame: object) -> None:
        del frame
        termination.note(number)
        self._leave()

    def _leave(self) -> None:
        """Let the prompt end, and the program after it. Thread-safe."""
        self._leaving = True
        self._prompt.close()

    def _refresh(self) -> None:
        self._prompt.refresh()


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


def _print_unacknowledged(left: list[str]) -> None:
    """Print all lines that were not acknowledged, so that the user still has them."""
    if not left:
        return
    was = "was" if len(left) == 1 else "were"
    print(f"{format_count(len(left), 'line')} {was} not acknowledged by the server and may not have arrived:")  # noqa: T201  the prompt is closed
    for text in left:
        print(f"  {sanitize(text)}".replace("\n", "\n  "))  # noqa: T201  as above
