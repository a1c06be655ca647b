"""What holds for everything that a server's codec makes of bytes."""

import contextlib
from collections.abc import Iterator, Sequence

from chat_protocol.commands import MAX_REF, Say
from chat_protocol.dialects import detect, ndjson, plain_text, two_field
from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Error
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME, LineBuffer
from fuzz.lines_shown import one_line_each

SHORT = 300
"""Bytes of a frame for the fuzzer, so that short inputs pass the limit."""

_LONGEST_SENTENCE = 500  # code points


@contextlib.contextmanager
def short_frames() -> Iterator[None]:
    """Make all codecs that are made meanwhile take frames of `SHORT` bytes at most."""
    makers = (LineBuffer.__init__, ObjectSplitter.__init__)
    try:
        for make in makers:
            make.__defaults__ = (SHORT,)
        vars(detect)["MAX_FRAME"] = SHORT
        yield
    finally:
        for make in makers:
            make.__defaults__ = (MAX_FRAME,)
        vars(detect)["MAX_FRAME"] = MAX_FRAME


def talk(codec: Codec, pieces: Sequence[bytes]) -> list[Incoming]:
    """Feed the pieces and the end of input; nothing may be kept beyond a frame."""
    found: list[Incoming] = []
    for piece in pieces:
        found += codec.receive(piece)
        bounded(codec)
    found += codec.end()
    return found


def bounded(codec: object) -> None:
    """Look through a codec's buffers."""
    for name in ("_lines", "_objects"):
        buffer = getattr(codec, name, None)
        if buffer is not None and not buffer.overflowed:
            assert len(buffer._held or b"") <= buffer.limit + 1
    if not getattr(codec, "_over", False):
        assert len(getattr(codec, "_held", b"")) <= SHORT + 1


def whole(found: Sequence[Incoming]) -> None:
    """Hold every fault and command to its own rules."""
    for item in found:
        if isinstance(item, Fault):
            _fault(item)
        elif not isinstance(item, Say) and type(item).__struct_config__.tag:
            assert ndjson.decode_command(ndjson.encode(item)[:-1]) == item


def _fault(fault: Fault) -> None:
    assert isinstance(fault.code, ErrorCode)
    assert 0 < len(fault.message) <= _LONGEST_SENTENCE
    assert fault.ref is None or 1 <= len(fault.ref) <= MAX_REF
    event = Error(code=fault.code, message=fault.message, ref=fault.ref)
    line = ndjson.encode(event)
    assert len(line) <= MAX_FRAME
    assert line.count(b"\n") == 1
    assert ndjson.decode_event(line[:-1]) == event
    assert two_field.encode(event).count(b"\n") == 1
    one_line_each(plain_text.encode(event), 1)
