"""The operator's terminal: a native thread reads it with prompt_toolkit, and writes to it.

The event loop only hands over lines. MUST NOT let the loop wait for the terminal, or raise there what the
terminal causes: one that was stopped, is gone or is behind a broken network would stop every room.
"""

import asyncio
import io
import os
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

MAX_QUEUED_CHARS: Final = 256 * 1024
"""Text that waits for the terminal: minutes of a busy lobby. What does not fit is dropped and counted."""
PRINT_INTERVAL_S: Final = 0.1
"""Seconds between two prints: each has the prompt drawn again."""
CLOSE_TIMEOUT_S: Final = 2.0
"""Longest wait for a terminal that takes nothing, when the server has stopped."""

STDIN: Final = 0
STDOUT: Final = 1
CTRL_Z_NOTICE: Final = "* Ctrl-Z is ignored: it would stop the chat for everybody\n"


def has_terminal() -> bool:
    """Return whether standard input and output are a terminal, and this process may read from it."""
    if not (os.isatty(STDIN) and os.isatty(STDOUT)):
        return False
    try:
        return os.tcgetpgrp(STDIN) == os.getpgrp()  # else it runs in the background
    except OSError:  # a terminal that controls no session
        return True


class OperatorTerminal:
    """The terminal. Its methods are called by the loop; they never raise, and all but `close` return at once.

    `on_line(text)` is called for each typed line, `on_end(error)` once: None after Ctrl-C and Ctrl-D, else
    why the terminal cannot be used any more. Both in the native thread.
    """

    def __init__(
        self, on_line: Callable[[str], None], on_end: Callable[[BaseException | None], None]
    ) -> None:
        self.lines_dropped = 0
        self._on_line = on_line
        self._on_end = on_end
        self._prompt_text = "server> "
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._lock = threading.Lock()  # guards the queue; held for microseconds
        self._queue: deque[str] = deque()
        self._queued_chars = 0
        self._drops_shown = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # of the native thread
        self._output_ready, self._closing, self._failed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._failure: BaseException | None = None  # of prompt_toolkit's own tasks
        self._prompt: PromptSession[str] | None = None
        self._output: Any = None
        self._attributes: list[Any] | None = None

    def start(self) -> None:
        """Start the thread."""
        with suppress(termios.error):
            self._attributes = termios.tcgetattr(STDIN)
        self._thread.start()

    def show(self, text: str) -> None:
        """Print a text above the prompt, or count it as dropped if the terminal is too far behind."""
        with self._lock:
            if self._queued_chars + len(text) > MAX_QUEUED_CHARS:
                self.lines_dropped += text.count("\n")
                return
            self._queue.append(text)
            self._queued_chars += len(text)
            first = len(self._queue) == 1
        if first:
            self._call(self._output_ready.set)

    def set_prompt(self, text: str) -> None:
        """Change the prompt."""
        self._prompt_text = text
        prompt = self._prompt
        if prompt is not None:
            self._call(prompt.app.invalidate)

    def close(self) -> None:
        """Stop the prompt, print what waits, and restore the terminal. Waits for that, but not for long."""
        self._call(self._closing.set)
        self._thread.join(timeout=CLOSE_TIMEOUT_S)
        if self._attributes is not None:
            with suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSANOW, self._attributes)

    def _call(self, function: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is closed: the terminal is gone
                loop.call_soon_threadsafe(function)

    # The native thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._use_terminal())
        except BaseException as raised:  # noqa: BLE001  whatever it is, the server goes on without the terminal
            error = raised
        if error is not None:
            self._on_end(error)

    async def _use_terminal(self) -> None:
        from prompt_toolkit.application import create_app_session  # noqa: PLC0415  only a console needs it
        from prompt_toolkit.input import create_input  # noqa: PLC0415
        from prompt_toolkit.output.vt100 import Vt100_Output  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._fail)
        # Not sys.stdout, whose errors end the program.
        stdout = io.TextIOWrapper(io.FileIO(STDOUT, "w", closefd=False), encoding=sys.stdout.encoding)
        self._output = Vt100_Output.from_pty(stdout, term=os.environ.get("TERM"))
        self._output.enable_cpr = False  # nothing needs the cursor's position, and not all terminals answer
        self._output_ready.set()  # for what was queued before
        self._loop = loop
        with create_app_session(input=create_input(sys.stdin), output=self._output):
            reading = asyncio.create_task(self._read_lines())
            ends = [asyncio.create_task(wait) for wait in (self._print_queued(), self._end())]
            await asyncio.wait([reading, *ends], return_when="FIRST_COMPLETED")
            if reading.done() and reading.exception() is None:
                self._on_end(None)
                await asyncio.wait(ends, return_when="FIRST_COMPLETED")
            ended = [task for task in (reading, *ends) if task.done()]
            for task in (reading, *ends):
                task.cancel()
            await asyncio.wait([reading, *ends])
            for task in ended:
                task.result()
            self._print(self._take())

    async def _end(self) -> None:
        """Wait for `close`. Raises what failed in a task of prompt_toolkit's own."""
        waits = [asyncio.create_task(event.wait()) for event in (self._closing, self._failed)]
        await asyncio.wait(waits, return_when="FIRST_COMPLETED")
        for wait in waits:
            wait.cancel()
        if self._failure is not None:
            raise self._failure

    def _fail(self, _loop: object, context: dict[str, Any]) -> None:
        """Note an exception of prompt_toolkit's own tasks, which it would show until Enter is pressed."""
        self._failure = context.get("exception") or RuntimeError(context["message"])
        self._failed.set()

    async def _read_lines(self) -> None:
        """Hand on each line until Ctrl-C or Ctrl-D. Raises `OSError` if the terminal is gone."""
        from chat_server.console.prompt import new_prompt  # noqa: PLC0415  only a console needs it

        self._prompt = new_prompt(lambda: self._prompt_text, lambda: self.show(CTRL_Z_NOTICE))
        try:
            while True:
                line = await self._prompt.prompt_async(handle_sigint=False, set_exception_handler=False)
                self._on_line(line)
        except (EOFError, KeyboardInterrupt):
            try:
                termios.tcgetattr(STDIN)  # a terminal that was hung up looks like Ctrl-D
            except termios.error as error:
                raise OSError(*error.args) from None

    async def _print_queued(self) -> None:
        from prompt_toolkit.application import run_in_terminal  # noqa: PLC0415  only a console needs it

        while True:
            await self._output_ready.wait()
            self._output_ready.clear()
            text = self._take()
            if text:
                await run_in_terminal(partial(self._print, text))
                await asyncio.sleep(PRINT_INTERVAL_S)

    def _take(self) -> str:
        """Return what waits, with how much was dropped after it."""
        with self._lock:
            text = "".join(self._queue)
            self._queue.clear()
            self._queued_chars = 0
            dropped = self.lines_dropped - self._drops_shown
            self._drops_shown = self.lines_dropped
        return text + (f"! {dropped} lines were not shown: the terminal was too slow\n" if dropped else "")

    def _print(self, text: str) -> None:
        """Write to the terminal. Waits for it; characters that its encoding does not have become `?`."""
        if text:
            self._output.enable_autowrap()
            self._output.write(text)
            self._output.flush()
