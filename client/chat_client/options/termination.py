"""How signals end a command: SIGHUP and SIGTERM are handled like Ctrl-C, so that it quits in order.

A closed terminal window sends SIGHUP, often twice; the second must not interrupt the quitting.
"""

import os
import signal
import threading
import time
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

    def install(self) -> None:
        """Raise `Terminated` in the main thread when SIGHUP or SIGTERM arrives.

        SIGHUP stays ignored if it is, as under nohup(1).
        """
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        _nudge_main_thread()

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
        raise Terminated


def _nudge_main_thread() -> None:
    """Let no signal wait for the next line or message.

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


termination = Termination()
"""Of this process."""
