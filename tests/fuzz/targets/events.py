"""A client decoding a server's lines: an event, None, or `ValueError`."""

import msgspec

from chat_client.connection.decode import decode_frame
from chat_protocol import sentences
from chat_protocol.dialects import plain_text, two_field
from chat_protocol.dialects.ndjson import decode_event, encode
from chat_protocol.errors import ByeReason
from chat_protocol.events import Bye, Error, Event


def check(data: bytes) -> None:
    for line in data.split(b"\n"):
        _line(line)


def _line(line: bytes) -> None:
    strict: Event | None = None
    try:
        strict = decode_event(line)
    except msgspec.DecodeError:
        known = False
    else:
        known = True
    try:
        lenient = decode_frame(line)
    except ValueError:
        assert not known
        return
    if known:
        assert lenient == strict
    else:
        assert isinstance(lenient, Error) or (isinstance(lenient, Bye) and lenient.reason in ByeReason)
    if lenient is not None:
        assert decode_event(encode(lenient)[:-1]) == lenient
        assert all(isinstance(sentence, str) for sentence in sentences.event_sentences(lenient))
        plain_text.encode(lenient).decode()
        two_field.encode(lenient).decode()
