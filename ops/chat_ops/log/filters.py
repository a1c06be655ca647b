"""Filters of log lines by time, room, user and node, and parsing of points in time."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from chat_ops.log.errors import UsageError

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?:[0-9]{1,6}[smhdw])+")
_DURATION_PART: Final = re.compile(r"([0-9]+)([smhdw])")
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_DAYS: Final = {"today": 0, "yesterday": 1}


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on a line; an empty one matches all. Times are UTC without a zone; `until` is exclusive."""

    since: datetime | None = None
    until: datetime | None = None
    room: str = ""
    users: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


NO_FILTERS: Final = Filters()


def point_in_time(text: str, now: datetime | None = None) -> datetime:
    """Return the time that `text` means, in UTC without a zone.

    An ISO time (of another zone, too), a date (its midnight), `14:30` (today), `90s`, `15m`, `2h`, `3d`
    or `1w` (that long before now; `1h30m` as well), `now`, `today` or `yesterday` (its midnight). Without a
    zone it is UTC, as in the log. Raises `UsageError`.
    """
    now = (now or datetime.now(UTC)).replace(tzinfo=None)
    word = text.strip()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if word.lower() == "now":
            return now
        if word.lower() in _DAYS:
            return midnight - timedelta(days=_DAYS[word.lower()])
        if _DURATION.fullmatch(word):
            return now - timedelta(
                seconds=sum(int(n) * _UNIT_S[unit] for n, unit in _DURATION_PART.findall(word))
            )
        if clock := _CLOCK.fullmatch(word):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            return midnight.replace(hour=hour, minute=minute, second=second)
        if len(word) == len("2026-11-21") and word.isascii():
            return datetime.combine(date.fromisoformat(word), datetime.min.time())
        found = datetime.fromisoformat(word)
        return (found.astimezone(UTC) if found.tzinfo else found).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise UsageError(
            f"invalid time {text!r}: write 2026-11-21T14:30, 2026-11-21, 14:30, 2h, 3d or yesterday (all UTC)"
        ) from None
