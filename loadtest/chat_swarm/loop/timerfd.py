"""A timer that is a file descriptor: readable at an absolute monotonic moment (timerfd_create(2)).

Knows the system call. Must not know who waits.

An event loop's own timers round to whole milliseconds, and a bot that sends a millisecond late every time
would look like a slow server. Python has the call since 3.13; before that the C library is asked directly.
"""

import contextlib
import ctypes
import os
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1  # TFD_TIMER_ABSTIME
_NS_PER_S: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerFd:
    """One alarm; `fd` is readable when it rings."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._spec: Final = _Itimerspec()
        self._spec_pointer: Final = ctypes.byref(self._spec)
        self.fd: Final[int] = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _os_error("timerfd_create")

    def arm(self, due_ns: int) -> None:
        """Ring at `moment_ns` of time.monotonic_ns(); at once if that has passed."""
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(max(1, due_ns), _NS_PER_S)  # 0 would switch it off
        if self._settime(self.fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None):
            raise _os_error("timerfd_settime")

    def clear(self) -> None:
        """Be readable no longer, until it is set again."""
        with contextlib.suppress(BlockingIOError):  # it was set anew since it rang
            os.read(self.fd, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def _os_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
