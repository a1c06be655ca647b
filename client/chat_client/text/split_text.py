"""Splitting of long text into several messages, at paragraphs, lines, sentences or words."""

import re
import unicodedata

from chat_protocol.message_text import MAX_MESSAGE_BYTES

_JOINER = "\u200d"
# In order of preference: paragraph, line, sentence, word.
_BREAKS = (re.compile(r"\n\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?;])\s+"), re.compile(r"\s+"))
_MIN_PIECE_SHARE = 0.5  # of the limit: earlier breaks would make too many messages


def split_text(text: str, limit: int = MAX_MESSAGE_BYTES) -> list[str]:
    """Return pieces of at most `limit` bytes of UTF-8; only white space at the breaks is dropped."""
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
    """Return the number of leading code points that fit in `limit` bytes."""
    return len(text[:limit].encode()[:limit].decode(errors="ignore"))


def _find_break(window: str) -> tuple[int, int]:
    """Return the end of this piece and the start of the next."""
    least = int(len(window) * _MIN_PIECE_SHARE)
    for pattern in _BREAKS:
        last = None
        for found in pattern.finditer(window, least):
            last = found
        if last is not None and last.start() > 0:
            return last.start(), last.end()
    return len(window), len(window)


def _character_boundary(text: str, at: int) -> int:
    """Return an index at or up to 32 before `at` that does not separate a letter from its marks, if any."""
    for place in range(at, max(at - 32, 1), -1):
        joined = text[place - 1] == _JOINER or text[place] == _JOINER
        if not joined and not unicodedata.combining(text[place]):
            return place
    return at
