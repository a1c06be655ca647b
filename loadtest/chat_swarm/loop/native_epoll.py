"""What gevent takes away when Locust patches the process: the real epoll.

Knows how to find it. Must not know what it is for.
"""

import select
import sys
from typing import Final

EPOLLIN: Final = 0x001
EPOLLOUT: Final = 0x004
EPOLLERR: Final = 0x008
EPOLLHUP: Final = 0x010
"""From <sys/epoll.h>: the numbers are the kernel's, whatever a patched module still exports."""


def new_epoll() -> "select.epoll":
    """Return an epoll of the kernel's, also where gevent has removed its name."""
    monkey = sys.modules.get("gevent.monkey")
    if hasattr(select, "epoll") or monkey is None:
        return select.epoll()
    original: select.epoll = monkey.get_original("select", "epoll")()
    return original
