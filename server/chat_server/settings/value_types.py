"""Types of setting values: how each is parsed, validated and shown."""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from chat_server.settings.user_folders import expanded

T = TypeVar("T")

_NUMBER: Final = r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,9})?"
"""What `float` reads, without its underscores, blanks, digits of other scripts and names such as `nan`."""


@dataclass(frozen=True, slots=True)
class ValueType(Generic[T]):
    """The type of a setting's values.

    `metavar` is the placeholder in `--help` (empty for an on/off switch); `allowed` completes the sentence
    "must be …". `read` takes the text of a flag or environment variable, or a native TOML value, and returns
    the value or raises ValueError; the caller adds the source to the message. `show` formats a value as it is
    typed. `zero` is the meaning of 0 where that is not plain zero.
    """

    metavar: str
    allowed: str
    read: Callable[[object], T]
    show: Callable[[T], str] = str
    zero: str = ""


def whole(low: int, high: int, zero: str = "", *, allowed: str = "") -> ValueType[int]:
    """Return the type of whole numbers from `low` to `high`; `allowed` replaces the generated range."""

    def read(given: object) -> int:
        if isinstance(given, str) and re.fullmatch(r"[0-9]{1,18}", given):
            given = int(given)
        if type(given) is not int or not low <= given <= high:  # to isinstance, True would be an int
            raise ValueError
        return given

    return ValueType("N", allowed or f"a whole number from {_low(str(low), zero)} to {high}", read, zero=zero)


def number(low: float, high: float, zero: str = "", *, metavar: str = "N") -> ValueType[float]:
    """Return the type of numbers from `low` to `high`, whole or not."""

    def read(given: object) -> float:
        if isinstance(given, str) and not re.fullmatch(_NUMBER, given):
            raise ValueError
        if type(given) is bool or not isinstance(given, str | int | float):
            raise ValueError
        try:
            value = float(given)
        except OverflowError:  # a whole number of hundreds of digits, in a file
            raise ValueError from None
        if not low <= value <= high:  # also false for nan
            raise ValueError
        return value

    show = "{:.15g}".format
    return ValueType(metavar, f"a number from {_low(show(low), zero)} to {show(high)}", read, show, zero)


def seconds(low: float, high: float, zero: str = "") -> ValueType[float]:
    """Return the type of durations in seconds."""
    return number(low, high, zero, metavar="SECONDS")


SIZE_UNIT_BYTES: Final = {"G": 2**30, "M": 2**20, "K": 2**10, "": 1}


def size(low: int, high: int, zero: str = "") -> ValueType[int]:
    """Return the type of byte counts, also written 64K, 16M or 1G (powers of 1024)."""

    def read(given: object) -> int:
        if isinstance(given, str):
            match = re.fullmatch(r"([0-9]{1,18})(?:([KMG])(?:iB)?)?", given, re.IGNORECASE)
            if match is None:
                raise ValueError
            given = int(match[1]) * SIZE_UNIT_BYTES[(match[2] or "").upper()]
        if type(given) is not int or not low <= given <= high:
            raise ValueError
        return given

    def show(value: int) -> str:
        unit = next((unit for unit, size in SIZE_UNIT_BYTES.items() if value and value % size == 0), "")
        return f"{value // SIZE_UNIT_BYTES[unit]}{unit}"

    allowed = (
        f"a number of bytes from {_low(show(low), zero)} to {show(high)} (K, M and G are powers of 1024)"
    )
    return ValueType("BYTES", allowed, read, show, zero)


def choice(*words: str) -> ValueType[str]:
    """Return the type of one word out of `words`."""

    def read(given: object) -> str:
        if not isinstance(given, str) or given.lower() not in words:
            raise ValueError
        return given.lower()

    return ValueType("|".join(words), " or ".join(words), read)


def name(longest: int) -> ValueType[str]:
    """Return the type of names of up to `longest` characters, without spaces and control characters."""

    def read(given: object) -> str:
        text = _text(given)
        if len(text) > longest or not text.isprintable() or " " in text:
            raise ValueError
        return text

    return ValueType("NAME", f"1 to {longest} visible characters without spaces", read)


def _read_switch(given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = _text(given).lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError


def _read_host(given: object) -> str:
    text = _text(given)
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        try:
            socket.inet_pton(socket.AF_INET6, bare.partition("%")[0])  # what follows % names an interface
        except OSError:
            raise ValueError from None
    elif bare != text or not re.fullmatch(r"[\w.-]+", bare):
        raise ValueError
    bare.encode("idna")  # raises UnicodeError, a ValueError, for what cannot be looked up
    return bare


def _read_output(given: object) -> str:
    path = _path(given)
    return "" if path == "-" else str(expanded(path))


def _read_store(given: object) -> str:
    url = _text(given)
    path = url.removeprefix("sqlite:///")
    if url != "memory":
        # Other programs give a query part and :memory: a meaning in such URLs; reject rather than ignore
        # them.
        if path in {"", url, ":memory:"} or path.endswith("/") or "?" in path:
            raise ValueError
        expanded(_path(path))
    return url


SWITCH: Final = ValueType(
    "", "true or false (1 or 0, yes or no, on or off)", _read_switch, lambda on: "on" if on else "off"
)
HOST: Final = ValueType("HOST", "a host name, an IPv4 or an IPv6 address, without a port", _read_host)
FOLDER: Final = ValueType("FOLDER", "a path", lambda given: expanded(_path(given)))
OUTPUT: Final = ValueType("FILE", "a path, or - for standard output", _read_output, lambda path: path or "-")
"""A file to write; standard output is the empty string."""
STORE: Final = ValueType("URL", "memory, sqlite:///relative/path or sqlite:////absolute/path", _read_store)
"""URL of the message store; the URL of a file is written as in SQLAlchemy."""


def _text(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError
    return given


def _path(given: object) -> str:
    path = _text(given)
    if "\0" in path:
        raise ValueError
    return path


def _low(low: str, zero: str) -> str:
    return f"{low} ({zero})" if zero else low


def host_name() -> str:
    """Return the name of this machine, without what a log or a terminal could not show."""
    name = socket.gethostname()
    return "".join(char if char.isprintable() and char != " " else "?" for char in name)[:64] or "localhost"
