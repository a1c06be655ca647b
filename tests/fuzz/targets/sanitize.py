"""Text of the client: sanitized for terminals, and split without loss."""

import json
import unicodedata

from chat_client.text.sanitize import escape_json_controls, one_line, sanitize
from chat_client.text.split_text import split_text

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = set("\n\u200c\u200d")


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    shown = sanitize(text)
    assert not [char for char in shown if unicodedata.category(char) in _HIDDEN and char not in _KEPT]
    assert sanitize(shown) == shown
    assert shown.count("\n") == text.count("\n")
    assert "\n" not in one_line(text)
    assert not text.isascii() or not text.isprintable() or shown == text
    written = json.dumps({"text": text}, ensure_ascii=False)
    escaped = escape_json_controls(written)
    assert json.loads(escaped) == {"text": text}
    assert not [char for char in escaped if unicodedata.category(char) in _HIDDEN]
    _pieces(data.decode(errors="replace"))


def _pieces(text: str) -> None:
    for limit in (4, 9, 64):
        pieces = split_text(text, limit)
        assert all(0 < len(piece.encode()) <= limit for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())
