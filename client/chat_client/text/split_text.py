"""A long text as several messages, cut where a reader would pause.

Knows text and bytes. Must not know who says it.
"""

import re
import unicodedata

from chat_protocol.message_text import MAX_MESSAGE_BYTES

_JOINER = "\u200d"
# In the order of preference: a paragraph, a line, a sentence, a word.
_BREAKS = (re.compile(r"\n\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?;])\s+"), re.compile(r"\s+"))
_MIN_PIECE_SHARE = 0.5  # of the room: a break before that would make more messages than a reader likes


def split_text(text: str, limit: int = MAX_MESSAGE_BYTES) -> list[str]:
    """Return `text` in pieces of at most `limit` bytes of UTF-8; only white space at the cuts is left out."""
    pieces = []
    while len(text.encode()) > limit:
        window = text[: _fitting_chars(text, limit)]
        end, start = _find_break(window)
        if end == len(window):
            end = start = _character_boundary(text, end)
        if piece := text[:end].rstrip("\n"):
            pieces.append(piece)
        text = text[start:]
    if text.strip():
        pieces.append(text)
    return pieces


def _fitting_chars(text: str, limit: int) -> int:
    """Return how many code points from the first take at most `limit` bytes."""
    return len(text[:limit].encode()[:limit].decode(errors="ignore"))


def _find_break(window: str) -> tuple[int, int]:
    """Return where the piece ends and where the next begins."""
    least = int(len(window) * _MIN_PIECE_SHARE)
    for pattern in _BREAKS:
        last = None
        for found in pattern.finditer(window, least):
            last = found
        if last is not None and last.start() > 0:
            return last.start(), last.end()
    return len(window), len(window)


def _character_boundary(text: str, at: int) -> int:
    """Return a place at or shortly before `at` that parts no letter from its marks, if there is one."""
    for place in range(at, max(at - 32, 1), -1):
        joined = text[place - 1] == _JOINER or text[place] == _JOINER
        if not joined and not unicodedata.combining(text[place]):
            return place
    return at
