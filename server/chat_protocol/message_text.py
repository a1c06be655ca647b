"""Validation of message text: 1 to 8,192 bytes of UTF-8, no control characters but line feed and tab."""

import re
from typing import Final

MAX_MESSAGE_BYTES: Final = 8192
"""Bytes of UTF-8 in a message's text."""

_MAX_CODE_POINT_BYTES = 4  # of UTF-8
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def text_problem(text: str) -> str | None:
    """Return why `text` is not a valid message, as a sentence for the peer; None if it is valid."""
    length = len(text)
    if not length:
        return "a message must not be empty"
    if length * _MAX_CODE_POINT_BYTES > MAX_MESSAGE_BYTES:
        size = length if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_MESSAGE_BYTES:
            return f"the message has {size} bytes of UTF-8; the limit is {MAX_MESSAGE_BYTES}"
    if text.isprintable():
        return None
    control = _CONTROL.search(text)
    if control is not None:
        return (
            f"the message contains the control character U+{ord(control.group()):04X}; "
            "only line feed and tab are allowed"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the message contains a lone surrogate, which UTF-8 cannot encode"
    return None
