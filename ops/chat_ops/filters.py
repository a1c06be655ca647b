"""Which lines are asked for: by time, room, user and node.

Knows the command line's words and turns them into conditions. Must not know files.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Filters:
    """What a line must be like; empty means anything."""

    since: datetime | None = None
    until: datetime | None = None
    rooms: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


NO_FILTERS: Final = Filters()
