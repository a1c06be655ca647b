"""The shape of a row in the table of settings, and the headings of `--help`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from chat_server.settings.value_types import ValueType

T = TypeVar("T")


class Section(StrEnum):
    """Headings of `--help`."""

    LISTEN = "listening"
    KEEP = "message store"
    LOG = "event log"
    METRICS = "metrics"
    SESSION = "limits of a session"
    SERVER = "limits of the server"
    TIME = "timeouts and intervals"


@dataclass(frozen=True, slots=True)
class Setting:
    """Properties of a setting besides its name and default."""

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
    """Return a dataclass field for the table; `shown` replaces a default that says too little in `--help`."""
    metadata = {"setting": Setting(section, value_type, unit, reason, reloadable, shown)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
