"""Encoding of commands, in the thread of the caller: what cannot be encoded fails that call alone."""

from chat_protocol.commands import Command
from chat_protocol.dialects.ndjson import encode
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import encoding_problem


def encode_command(command: Command) -> bytes:
    """Return the frame of a command.

    Raises `ValueError` with a sentence if it contains text that UTF-8 cannot encode, or is longer than the
    protocol allows, and `TypeError` for a value that JSON does not have.
    """
    try:
        data = encode(command)
    except UnicodeEncodeError as error:
        shown = str(error.object).encode(errors="backslashreplace").decode()
        raise ValueError(f"'{shown[:60]}' contains {encoding_problem(str(error.object))}") from None
    if len(data) - 1 > MAX_FRAME_BYTES:
        raise ValueError(f"the command has {len(data) - 1} bytes; the limit is {MAX_FRAME_BYTES}")
    return data
