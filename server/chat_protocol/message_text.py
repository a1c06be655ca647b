r"""The text of messages, wherever it comes in: bytes to text, and validation.

Every entrance uses these: the dialects, the client (typed lines, arguments, standard input), the console.
A text is 1 to 8,192 bytes of UTF-8 without control characters but line feed and tab.
"""

import re
from typing import Final

from chat_protocol.characters import describe_char

MAX_MESSAGE_BYTES: Final = 8192
"""Bytes of UTF-8 in a message's text."""

BYTE_ORDER_MARK: Final = "\ufeff"
"""Written by some programs at the start of a file or stream; never part of the text there."""

_MAX_CODE_POINT_BYTES = 4  # of UTF-8
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def decode_text(data: bytes, *, begins_stream: bool = False) -> str:
    """Return the text that `data` encodes in UTF-8; raise `ValueError` with a sentence for people if none.

    `begins_stream`: the data is the start of a file, a stream or a connection, where a byte order mark is
    not part of the text.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if begins_stream and data.startswith(_UTF16_MARKS):
            raise ValueError("the text is UTF-16, not UTF-8: convert it first") from None
        raise ValueError(f"the text is not UTF-8 (the byte 0x{data[error.start]:02X})") from None
    return text.removeprefix(BYTE_ORDER_MARK) if begins_stream else text


def encoding_problem(text: str) -> str | None:
    """Return why UTF-8 cannot encode `text`, as a part of a sentence; None if it can.

    For all strings that a command may hold: names, rooms, refs. Bytes that Python could not decode
    (`surrogateescape`: arguments, file names, typed lines) are such text, and are named as bytes.
    """
    found = None if text.isascii() else _SURROGATE.search(text)
    if found is None:
        return None
    if 0xDC80 <= ord(found[0]) < 0xDD00:
        return describe_char(found[0])
    return f"the lone surrogate {describe_char(found[0])}, which UTF-8 cannot encode"


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
            f"the message contains the control character {describe_char(control.group())}; "
            "only line feed and tab are allowed"
        )
    problem = encoding_problem(text)
    return None if problem is None else f"the message contains {problem}"
