"""What a row of the table of settings says, and under which heading of `--help` it stands.

Knows the shape of the table. Must not know which settings there are (settings/table.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from chat_server.settings.value_types import ValueType

T = TypeVar("T")


class Section(StrEnum):
    """Headings of `--help`."""

    LISTEN = "where it listens"
    KEEP = "where it keeps messages"
    LOG = "the log"
    METRICS = "metrics"
    SESSION = "what a session may do"
    SERVER = "what the server holds"
    TIME = "times"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the table says about a setting besides its name and default."""

    section: Section
    value_type: ValueType[Any]
    unit: str
    reason: str
    reloadable: bool
    shown: str


def row(
    section: Section,
    default: T | Callable[[], T],
    value_type: ValueType[T],
    reason: str,
    *,
    unit: str = "",
    shown: str = "",
    reloadable: bool = False,
) -> T:
    """Return a row of the table; `shown` is put for a default that the value itself does not explain."""
    metadata = {"setting": Setting(section, value_type, unit, reason, reloadable, shown)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
