"""Writes lines to the terminal, above the prompt.

`sys.stdout` is looked up at each write: while the prompt is open, it is prompt_toolkit's, which prints above
the prompt.
"""

import os
import sys
from collections.abc import Callable

from chat_client.text.render import Painter, message_text, wrap_lines
from chat_client.text.sanitize import sanitize
from chat_protocol.events import MessageEvent

_FALLBACK_COLUMNS = 80


def wants_colours() -> bool:
    """Return whether to use colours (no-color.org: NO_COLOR set and not empty means no)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


class Screen:
    """Writes whole lines. Thread-safe; `cells` returns the columns of a text."""

    def __init__(self, painter: Painter, cells: Callable[[str], int]) -> None:
        self.painter = painter
        self._cells = cells

    def write_message(self, event: MessageEvent, *, place: str = "", mentioned: bool = False) -> None:
        """Write a message of a room or conversation."""
        text = message_text(
            event, self.painter, place=place, mentioned=mentioned, width=_usable_columns(), cells=self._cells
        )
        self._write(text)

    def notice(self, sentence: str) -> None:
        """Write a sentence of the client or the server, marked by `*`, which no message begins with."""
        lines = wrap_lines(f"* {sanitize(sentence)}", _usable_columns(), self._cells)
        self._write("\n".join(map(self.painter.dim, lines)))

    def warn(self, sentence: str) -> None:
        """Write an important notice, in bold."""
        lines = wrap_lines(f"* {sanitize(sentence)}", _usable_columns(), self._cells)
        self._write("\n".join(map(self.painter.bold, lines)))

    def ring_bell(self) -> None:
        """Ring the terminal's bell."""
        sys.stdout.write("\a")
        sys.stdout.flush()

    def _write(self, text: str) -> None:
        sys.stdout.write(_shown_in(sys.stdout.encoding or "utf-8", text) + "\n")
        sys.stdout.flush()


def _shown_in(encoding: str, text: str) -> str:
    """Return `text` with characters that the terminal's encoding does not have as `<U+20AC>`."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        shown = "".join(f"<U+{ord(char):04X}>" for char in text[error.start : error.end])
        return text[: error.start] + shown + _shown_in(encoding, text[error.end :])
    except LookupError:
        pass  # an encoding that Python does not know: the terminal has to cope
    return text


def _usable_columns() -> int:
    """Return the columns to use: one less than available, as some terminals wrap at the last one."""
    try:
        return os.get_terminal_size(1).columns - 1
    except OSError:
        return _FALLBACK_COLUMNS - 1
