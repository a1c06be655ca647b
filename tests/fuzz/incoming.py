"""Invariants of everything that a server's codec decodes."""

import contextlib
from collections.abc import Iterator, Sequence

from chat_protocol.commands import MAX_REF_CHARS, Say
from chat_protocol.dialects import detect, ndjson, plain_text, two_field
from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Error
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME_BYTES, LineBuffer
from chat_protocol.framing.telnet import TelnetFilter
from fuzz.lines_shown import one_line_each

SHORT_FRAME_BYTES = 300
"""Frame limit for the fuzzer, so that short inputs exceed it."""

_MAX_SENTENCE_CHARS = 500  # code points


@contextlib.contextmanager
def short_frames() -> Iterator[None]:
    """Set the frame limit to `SHORT_FRAME_BYTES` for codecs made within the context."""
    makers = (LineBuffer.__init__, ObjectSplitter.__init__, TelnetFilter.__init__)
    try:
        for make in makers:
            make.__defaults__ = (SHORT_FRAME_BYTES,)
        vars(detect)["MAX_FRAME_BYTES"] = SHORT_FRAME_BYTES
        yield
    finally:
        for make in makers:
            make.__defaults__ = (MAX_FRAME_BYTES,)
        vars(detect)["MAX_FRAME_BYTES"] = MAX_FRAME_BYTES


def feed_codec(codec: Codec, pieces: Sequence[bytes]) -> list[Incoming]:
    """Feed the pieces and the end of input; assert that no more than a frame is buffered."""
    found: list[Incoming] = []
    for piece in pieces:
        found += codec.receive(piece)
        check_buffers(codec)
    found += codec.receive_eof()
    return found


def check_buffers(codec: object) -> None:
    """Assert that a codec's buffers are bounded."""
    for name in ("_lines", "_objects"):
        buffer = getattr(codec, name, None)
        if buffer is not None and not buffer.overflowed:
            assert len(buffer._buffer or b"") <= buffer.limit + 1
    if not getattr(codec, "_gave_up", False):
        assert len(getattr(codec, "_first_line", b"")) <= SHORT_FRAME_BYTES + 1


def check_items(found: Sequence[Incoming]) -> None:
    """Check every fault, and that every command survives encoding and decoding."""
    for item in found:
        if isinstance(item, Fault):
            _fault(item)
        elif not isinstance(item, Say) and type(item).__struct_config__.tag:
            assert ndjson.decode_command(ndjson.encode(item)[:-1]) == item


def _fault(fault: Fault) -> None:
    assert isinstance(fault.code, ErrorCode)
    assert 0 < len(fault.message) <= _MAX_SENTENCE_CHARS
    assert fault.ref is None or 1 <= len(fault.ref) <= MAX_REF_CHARS
    event = Error(code=fault.code, message=fault.message, ref=fault.ref)
    line = ndjson.encode(event)
    assert len(line) <= MAX_FRAME_BYTES
    assert line.count(b"\n") == 1
    assert ndjson.decode_event(line[:-1]) == event
    assert two_field.encode(event).count(b"\n") == 1
    one_line_each(plain_text.encode(event), 1)
