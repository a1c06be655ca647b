"""Encoding of commands, in the thread of the caller: what cannot be encoded fails that call alone."""

from chat_protocol.commands import Command
from chat_protocol.dialects.ndjson import encode
from chat_protocol.framing.lines import MAX_FRAME_BYTES

_UNDECODED_BYTES = (0xDC80, 0xDCFF)  # how Python represents bytes that it could not decode (PEP 383)
_SHOWN_CHARS = 60


def encode_command(command: Command) -> bytes:
    """Return the frame of a command.

    Raises `ValueError` with a sentence if it contains text that UTF-8 cannot encode, or is longer than the
    protocol allows, and `TypeError` for a value that JSON does not have.
    """
    try:
        data = encode(command)
    except UnicodeEncodeError as error:
        raise ValueError(_explain(str(error.object))) from None
    if len(data) - 1 > MAX_FRAME_BYTES:
        raise ValueError(f"the command has {len(data) - 1} bytes; the limit is {MAX_FRAME_BYTES}")
    return data


def encoding_problem(text: str) -> str | None:
    """Return why UTF-8 cannot encode `text`, as a sentence; None if it can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _explain(text)
    return None


def _explain(text: str) -> str:
    shown = "".join(map(_shown_char, text))
    bad = next(_shown_char(char) for char in text if "\ud800" <= char <= "\udfff")
    what = (
        f"the byte 0x{bad[2:].upper()}"
        if bad.startswith("\\x")
        else f"the lone surrogate U+{bad[2:].upper()}"
    )
    return f"'{shown[:_SHOWN_CHARS]}' contains {what}, which is not UTF-8 text"


def _shown_char(char: str) -> str:
    point = ord(char)
    if _UNDECODED_BYTES[0] <= point <= _UNDECODED_BYTES[1]:
        return f"\\x{point & 0xFF:02x}"
    return f"\\u{point:04x}" if "\ud800" <= char <= "\udfff" else char
