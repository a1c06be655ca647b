"""How signals end a command: SIGHUP and SIGTERM are handled like Ctrl-C, so that it quits in order.

A closed terminal window sends SIGHUP, often twice; the second must not interrupt the quitting.
"""

import signal
from types import FrameType

from chat_client.options.exit_codes import ExitCode

_SIGNALS = (signal.SIGHUP, signal.SIGTERM)


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


termination = Termination()
"""Of this process."""
