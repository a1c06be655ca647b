"""How signals end a command: SIGHUP and SIGTERM are handled like Ctrl-C, so that it quits in order.

A closed terminal window sends SIGHUP, often twice; the second must not interrupt the quitting.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from chat_client.options.exit_codes import ExitCode

_SIGNALS = (signal.SIGHUP, signal.SIGTERM)
_NUDGE = signal.SIGURG  # ignored by default, and not used by anything here
_NUDGES_AFTER_S = (0.02, 0.1, 0.5)


class Terminated(KeyboardInterrupt):
    """SIGHUP or SIGTERM has arrived."""


class Termination:
    """The signal that has ended this process, if any; `install` is called once, in the main thread."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._wakeup_fd = -1
        self._callback: Callable[[], None] | None = None

    def install(self) -> None:
        """Raise `Terminated` in the main thread when SIGHUP or SIGTERM arrives.

        SIGHUP stays ignored if it is, as under nohup(1).
        """
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        self._wakeup_fd = _nudge_main_thread()

    @contextmanager
    def deferred(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` when a signal arrives, and raise `Terminated` at the end.

        For an event loop, whose callbacks an exception would end in their middle.
        """
        self._callback = callback
        try:
            yield
        finally:
            self._callback = None
            signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)  # the loop has replaced it
            if self.received:
                raise Terminated

    @property
    def received(self) -> bool:
        """Whether a signal ends this process."""
        return self._received is not None

    def note(self, number: int) -> None:
        """Note that a signal ends this process, and ignore further ones."""
        self._received = number
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)

    def exit_code(self, code: int) -> int:
        """Return the exit code of a command that returned `code`, or that of SIGHUP."""
        return ExitCode.HANGUP if self._received == signal.SIGHUP else code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.note(number)
        if self._callback is None:
            raise Terminated
        self._callback()


def _nudge_main_thread() -> int:
    """Let no signal wait for the next line or message; return the descriptor to be set as wakeup fd.

    Python runs a handler when a system call returns, and is interrupted only if the signal arrives during the
    call: one that arrives just before would wait until the call returns by itself.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.signal(_NUDGE, lambda *_: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    main = threading.main_thread().ident
    assert main is not None

    def nudge() -> None:
        while True:
            if set(os.read(read_end, 1024)) - {_NUDGE}:
                for seconds in _NUDGES_AFTER_S:
                    time.sleep(seconds)
                    signal.pthread_kill(main, _NUDGE)

    threading.Thread(target=nudge, name="chat-client signals", daemon=True).start()
    return write_end


termination = Termination()
"""Of this process."""
