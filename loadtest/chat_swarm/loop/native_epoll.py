"""The unpatched select.epoll: gevent's monkey-patching, which Locust applies, removes that name."""

import select
import sys
from typing import Final

EPOLLIN: Final = 0x001
EPOLLOUT: Final = 0x004
EPOLLERR: Final = 0x008
EPOLLHUP: Final = 0x010
"""From <sys/epoll.h>: the kernel's values, since a patched `select` does not export them."""


def new_epoll() -> "select.epoll":
    """Return a `select.epoll` object, unpatched."""
    monkey = sys.modules.get("gevent.monkey")
    if hasattr(select, "epoll") or monkey is None:
        return select.epoll()
    original: select.epoll = monkey.get_original("select", "epoll")()
    return original
