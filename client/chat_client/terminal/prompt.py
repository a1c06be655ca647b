"""The prompt: reads lines with prompt_toolkit, in the main thread.

Any thread may interrupt or close it, or put a line back. A signal that arrives between two prompts takes
effect in the next one.
"""

import asyncio
import contextlib
import re
import select
import threading
from collections.abc import Callable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.application.current import get_app_session
from prompt_toolkit.completion import Completer
from prompt_toolkit.history import History
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.shortcuts import CompleteStyle

from chat_client.terminal.reflow import handle_reflow

_CTRL_C = "\x03"
_CURSOR_ANSWER = re.compile(r"\x1b\[\d{1,5};\d{1,5}R")
_BEGUN_ANSWER = re.compile(r"\x1b(\[[\d;]*)?\Z")
_MAX_ANSWER_CHARS = 14
_QUIET_S = 0.5  # before a line is put back, for keys that have been typed ahead


class LinePrompt:
    """A prompt with a status line. `report` is called with exceptions of its event loop."""

    def __init__(
        self,
        message: Callable[[], str],
        status: Callable[[], str],
        completer: Completer,
        history: History,
        report: Callable[[BaseException], None],
    ) -> None:
        self._message = message
        self._report = report
        self._app_session = get_app_session()
        self._parser = watch_pastes(self._app_session.input)
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._interrupted = False
        self._returned = ""  # a line that was put back, and not edited or sent since
        self._keys_wait = False  # whether keys were waiting when the last line was entered
        self.typed_ahead = False  # whether the line that `read` returned was begun before it was called
        self._prompt: PromptSession[str] = PromptSession(
            history=history,
            completer=completer,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            bottom_toolbar=status,
            enable_suspend=True,
            erase_when_done=True,  # the line reappears as the server's echo, its acknowledgement
            refresh_interval=1.0,
        )
        handle_reflow(self._prompt.app)
        stay_raw_while_printing(self._prompt.app)

    @property
    def text(self) -> str:
        """The text that has been typed."""
        return self._prompt.default_buffer.text

    @property
    def columns(self) -> int:
        """Width of the terminal."""
        return self._prompt.app.output.get_size().columns

    @property
    def receives_paste(self) -> bool:
        """Whether a bracketed paste has begun and not ended."""
        return self._parser is not None and self._parser.in_paste

    def read(self, draft: str = "") -> str:
        """Return the next line, `draft` being typed already.

        Raises `KeyboardInterrupt` on Ctrl-C, and `EOFError` on Ctrl-D, or once the prompt has been closed.
        """
        self.typed_ahead, self._keys_wait = self._keys_wait, False
        try:
            # Without handle_sigint: prompt_toolkit would lose a SIGINT that arrives while it starts or ends.
            line = self._prompt.prompt(
                self._message, default=draft, pre_run=self._prepare, handle_sigint=False
            )
        except KeyboardInterrupt:
            with self._lock:
                self._returned = ""
            raise
        self._keys_wait = self._has_keys()
        return line

    def ask(self, question: str) -> str:
        """Return the answer to a question; raises as `read` does."""
        one = PromptSession[str](erase_when_done=True)
        return one.prompt(question, pre_run=self._prepare, handle_sigint=False)

    def interrupt(self) -> None:
        """Handle SIGINT: `read` raises `KeyboardInterrupt`, now or when it is called next."""
        self._interrupted = True  # without the lock: a signal handler must not wait
        self._schedule(self._stop_if_asked)

    def pop_interrupt(self) -> bool:
        """Return whether there was an interrupt that `read` has not raised yet."""
        interrupted, self._interrupted = self._interrupted, False
        return interrupted

    def close(self) -> None:
        """Let `read` raise `EOFError`, now and whenever it is called. Thread-safe."""
        self._closed = True
        self._schedule(self._stop_if_asked)

    def put_back(self, line: str) -> None:
        """Put a line back, to be edited or sent again, unless another has been begun. Thread-safe."""
        with self._lock:
            self._returned = f"{self._returned}\n{line}" if self._returned else line
        self._schedule(self._fill_in_later)

    def refresh(self) -> None:
        """Draw prompt and status line again. Thread-safe."""
        app = self._app_session.app
        if app is not None:
            app.invalidate()

    def _has_keys(self) -> bool:
        terminal = self._app_session.input
        keys = get_typeahead(terminal)
        store_typeahead(terminal, keys)
        return bool(keys) or bool(select.select([terminal.fileno()], [], [], 0)[0])

    def _schedule(self, call: Callable[[], None]) -> None:
        app = self._app_session.app
        if app is not None and app.loop is not None:
            with contextlib.suppress(RuntimeError):  # the prompt has just ended: the next calls `_prepare`
                app.loop.call_soon_threadsafe(call)

    def _prepare(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._handle_loop_error)
        loop.call_soon(self._stop_if_asked)
        if self._returned:
            self._fill_in_later()

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self._report(context.get("exception") or RuntimeError(context["message"]))

    def _stop_if_asked(self) -> None:
        app = self._app_session.app
        if app is None or not app.is_running or app.future is None or app.future.done():
            return
        if self._closed:
            app.exit(exception=EOFError)
        elif self._interrupted:
            self._interrupted = False
            app.exit(exception=KeyboardInterrupt)

    def _fill_in_later(self) -> None:
        """Put lines back once no key has been typed ahead, which would be added to them, or send them."""
        asyncio.get_running_loop().call_later(_QUIET_S, self._fill_in)

    def _fill_in(self) -> None:
        buffer = self._prompt.default_buffer
        with self._lock:
            line = self._returned
            if not self._prompt.app.is_running or not line:
                return
            typed = buffer.text
            if typed and not line.startswith(f"{typed}\n"):  # another line, or an earlier one that was edited
                self._returned = ""
                return
        buffer.text = line
        buffer.cursor_position = len(line)


class PasteParser(Vt100Parser):
    """Parses keys; Ctrl-C, read alone, ends a bracketed paste whose end mark never comes.

    The terminal's answers about its cursor, which come in the middle of a long paste, are no part of it.
    """

    @property
    def in_paste(self) -> bool:
        """Whether a paste has begun and not ended."""
        return self._in_bracketed_paste

    def feed(self, data: str) -> None:
        """Parse input as it was read."""
        if not self._in_bracketed_paste:
            super().feed(data)
            return
        if data == _CTRL_C:
            self.reset()
        else:
            begun = _BEGUN_ANSWER.search(self._paste_buffer[-_MAX_ANSWER_CHARS:])
            if begun is not None:
                self._paste_buffer = self._paste_buffer.removesuffix(begun[0])
                data = begun[0] + data
            for answer in _CURSOR_ANSWER.findall(data):
                self.feed_key_callback(KeyPress(Keys.CPRResponse, answer))
            data = _CURSOR_ANSWER.sub("", data)
        super().feed(data)


def watch_pastes(terminal: object) -> PasteParser | None:
    """Let the terminal's keys be parsed by a `PasteParser`, and return it; None if it is no terminal."""
    if not isinstance(terminal, Vt100Input):
        return None
    if not isinstance(terminal.vt100_parser, PasteParser):
        terminal.vt100_parser = PasteParser(terminal.vt100_parser.feed_key_callback)
    return terminal.vt100_parser


def stay_raw_while_printing(app: Application[str]) -> None:
    """Let `app` leave the terminal's raw mode to suspend the program only, and not to print above the prompt.

    In cooked mode the terminal would echo keys in between, and take Ctrl-D and erasing keys for itself.
    """
    terminal, suspend = app.input, app.suspend_to_background
    if not isinstance(terminal, Vt100Input):
        return
    suspends = False

    def suspend_in_cooked_mode(suspend_group: bool = True) -> None:
        nonlocal suspends
        suspends = True
        suspend(suspend_group)

    def cooked_mode() -> contextlib.AbstractContextManager[None]:
        nonlocal suspends
        leaves, suspends = suspends, False
        return Vt100Input.cooked_mode(terminal) if leaves else contextlib.nullcontext()

    app.suspend_to_background = suspend_in_cooked_mode  # type: ignore[method-assign]
    terminal.cooked_mode = cooked_mode  # type: ignore[method-assign]
