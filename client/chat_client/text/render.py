"""Rendering of messages and notices as lines, for a terminal or a script's output.

All text of other users is sanitized here (text/sanitize.py), and continuation lines of a message are
indented, so that no message can forge a line.
"""

import re
import time
import zlib
from collections.abc import Callable, Iterator

from chat_client.events import Back
from chat_client.text.sanitize import one_line, sanitize
from chat_protocol.characters import INVISIBLE
from chat_protocol.events import MessageEvent
from chat_protocol.names import fold

INDENT = " " * 6  # as wide as "14:03 "
_SGR_COLOURS = (31, 32, 33, 34, 35, 36)  # foreground, ECMA-48 8.3.117; the terminal chooses the shades


class Painter:
    """Styles parts of a line by SGR sequences; unless `colours`, returns text unchanged."""

    def __init__(self, *, colours: bool) -> None:
        self.colours = colours

    def bold(self, text: str) -> str:
        """Return `text` in bold."""
        return self._sgr("1", text)

    def dim(self, text: str) -> str:
        """Return `text` in faint style."""
        return self._sgr("2", text)

    def highlight(self, text: str) -> str:
        """Return `text` in bold and inverse."""
        return self._sgr("1;7", text)

    def name(self, username: str) -> str:
        """Return a name in bold, in a colour computed from it: the same everywhere and every time."""
        return self._sgr(
            f"1;{_SGR_COLOURS[zlib.crc32(fold(username).encode()) % len(_SGR_COLOURS)]}", username
        )

    def _sgr(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text else text


def format_clock(timestamp: float) -> str:
    """Return HH:MM in local time; `timestamp` in seconds since the Unix epoch."""
    try:
        return time.strftime("%H:%M", time.localtime(timestamp))
    except (ValueError, OverflowError, OSError):
        return "--:--"  # an invalid timestamp must not break the display


def mentions(text: str, username: str) -> bool:
    """Return whether `text` contains the user's name as a word, in any case."""
    return re.search(rf"(?<![\w.-]){re.escape(fold(username))}(?![\w-])", fold(text)) is not None


def message_text(
    event: MessageEvent,
    painter: Painter,
    *,
    place: str = "",
    mentioned: bool = False,
    width: int = 0,
    cells: Callable[[str], int] = len,
) -> str:
    """Return a message as lines, `14:03 bob: text`, with `place` before the name if it is not the open room.

    Long lines are wrapped with an indent, as the terminal's own wrapping could make them look like another
    message: `width` in columns (0: no wrapping), `cells` returns the columns of a text.
    """
    when = format_clock(event.timestamp)
    shown_name = one_line(event.username)
    prefix = f"{place} " if place else ""
    mark = "» " if mentioned else ""
    if event.origin == "server":
        plain, painted = f"[{shown_name}]", painter.highlight(f"[{shown_name}]")
    else:
        plain, painted = f"{shown_name}:", painter.name(shown_name) + ":"
    head = f"{when} {prefix}{mark}{plain} "
    lines = list(wrap_lines(head + sanitize(event.message), width, cells))
    body = lines[0].removeprefix(head)
    if not lines[0].startswith(head):
        return "\n".join(lines)  # narrower than the head: complete, but without colours
    first = f"{painter.dim(when)} {prefix}{painter.highlight(mark.strip()) + ' ' if mark else ''}{painted} "
    rest = [body, *lines[1:]]
    return first + "\n".join(painter.bold(line) if mentioned else line for line in rest)


def back_text(event: Back) -> str:
    """Return a sentence for a `Back` event."""
    back = f"back after {format_duration(event.seconds)}" if event.seconds else "back"
    if not event.resumed:
        return f"{back}, in a new session"
    if not event.caught_up:
        return f"{back}, nothing was missed"
    return f"{back}, {format_count(event.caught_up, 'message')} caught up"


def format_duration(seconds: float) -> str:
    """Return a duration for people: `4.0 s`, `90 s`, `5 min`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def format_count(count: int, noun: str) -> str:
    """Return `1 message`, `1,234 messages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def wrap_lines(text: str, width: int, cells: Callable[[str], int]) -> Iterator[str]:
    """Yield the lines of `text`, all but the first indented, wrapped at `width` columns.

    Addresses (URLs, paths) are never cut, so that they can be copied: one that is too long has a line of its
    own, which the terminal wraps.
    """
    first = True
    for line in text.split("\n"):
        rest = line
        while True:
            indent = "" if first else INDENT
            first = False
            room = width - len(indent)
            if width <= len(INDENT) * 2 or cells(rest) <= room:
                yield indent + rest
                break
            at = _wrap_position(rest, room, cells)
            yield indent + rest[:at].rstrip(" ")
            rest = rest[at:].lstrip(" ")
            if not rest:
                break


def _wrap_position(text: str, room: int, cells: Callable[[str], int]) -> int:
    """Return the index at which to wrap a line of `room` columns: at a space, or inside a long word."""
    used = 0
    space = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > room:
            break
        if char == " ":
            space = index + 1
    else:
        return len(text)
    end = text.find(" ", space)
    word = text[space : end if end >= 0 else len(text)]
    if cells(word) > room - len(INDENT) and _is_address(word):
        # Text before it is a line for itself, unless it is the head of a message.
        return space if space > room // 2 else space + len(word)
    return space if space > room // 2 else max(index, 1)


def _is_address(word: str) -> bool:
    """Return whether the terminal may wrap a word: one of ASCII, or a URL.

    What the terminal wraps is not indented, so it contains nothing that looks like a blank: it must not look
    like another message.
    """
    return word.isascii() or (
        "://" in word
        and INVISIBLE.search(word) is None
        and all(char.isascii() or char.isalnum() for char in word)
    )
