"""A timer as a file descriptor: readable at an absolute monotonic time, in ns (timerfd_create(2)).

epoll_wait(2) rounds its timeout to whole milliseconds, and a bot that always sends a millisecond late would
make the server look slow. Python has the call only since 3.13, so it is called through ctypes.
"""

import contextlib
import ctypes
import os
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1  # <sys/timerfd.h>
_NS_PER_S: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerFd:
    """One timer; `fd` is readable from its due time until `clear`. Methods raise OSError."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._spec: Final = _Itimerspec()
        self._spec_pointer: Final = ctypes.byref(self._spec)
        self.fd: Final[int] = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _os_error("timerfd_create")

    def arm(self, due_ns: int) -> None:
        """Set the due time, in `time.monotonic_ns()`; a time in the past is due at once."""
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(max(1, due_ns), _NS_PER_S)  # 0 would disarm it
        if self._settime(self.fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None):
            raise _os_error("timerfd_settime")

    def clear(self) -> None:
        """Make `fd` unreadable until the next due time."""
        with contextlib.suppress(BlockingIOError):  # it was armed again after it expired
            os.read(self.fd, 8)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def _os_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
