"""The rules for a message's text: 1-8,192 bytes of UTF-8, line breaks and tabs kept, no other controls."""

import re
from typing import Final

MAX_MESSAGE_BYTES: Final = 8192
"""Bytes of UTF-8 in a message's text."""

_MAX_CODE_POINT_BYTES = 4  # bytes of UTF-8 a code point takes at most
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def text_problem(text: str) -> str | None:
    """Say why `text` cannot be a message, or None if it can."""
    length = len(text)
    if not length:
        return "a message must not be empty"
    if length * _MAX_CODE_POINT_BYTES > MAX_MESSAGE_BYTES:
        size = length if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_MESSAGE_BYTES:
            return f"a message has at most {MAX_MESSAGE_BYTES} bytes of UTF-8, not {size}"
    if text.isprintable():
        return None
    control = _CONTROL.search(text)
    if control is not None:
        return (
            f"a message holds no control character but line break and tab, not U+{ord(control.group()):04X}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a message is whole Unicode text, without lone surrogates"
    return None
