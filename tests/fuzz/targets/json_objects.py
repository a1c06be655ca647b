"""`ObjectSplitter`, compared with a model that has the whole stream and reads it byte by byte."""

from chat_protocol.framing.json_objects import ObjectSplitter, Piece
from fuzz.cuts import same_for_all_cuts

_SEPARATORS = b" \t\n\r\x0b\x0c,\0\x1e"
_MARK = b"\xef\xbb\xbf"


def check(data: bytes) -> None:
    limit, stream = (data[0] % 64 + 2, data[1:]) if data else (2, b"")

    def feed(pieces: list[bytes]) -> tuple[list[Piece], bool]:
        splitter = ObjectSplitter(limit)
        found = []
        for piece in pieces:
            found += splitter.feed(piece)
            assert splitter.overflowed or len(splitter._buffer) <= limit
        return found + splitter.take_unfinished(), splitter.overflowed

    def feed_stopping(pieces: list[bytes]) -> tuple[list[Piece], bool, bool]:
        splitter = ObjectSplitter(limit, stop_at_junk=True)
        found = []
        for piece in pieces:
            found += splitter.feed(piece)
            assert splitter.overflowed or len(splitter._buffer) <= limit
        return found + splitter.take_unfinished(), splitter.overflowed, splitter.stopped

    stopping, _, stopped = same_for_all_cuts(stream, feed_stopping)
    assert all(piece.text[:1] == b"{" for piece in stopping[:-1])
    assert not stopped or len(stopping[-1].text) == 1
    found, overflowed = same_for_all_cuts(stream, feed)
    assert (found, overflowed) == _model(stream, limit)
    before = 0
    for text, balanced, start, end in found:
        assert before <= start < end
        assert stream[start:end] == text
        assert len(text) <= limit
        assert not balanced or (text[:1], text[-1:]) == (b"{", b"}")
        assert not stream[before:start].replace(_MARK, b"").strip(_SEPARATORS)
        before = end


def _model(stream: bytes, limit: int) -> tuple[list[Piece], bool]:
    found: list[Piece] = []
    at = 0
    while at < len(stream):
        if stream[at] in _SEPARATORS or stream.startswith(_MARK, at):
            at += 1 if stream[at] in _SEPARATORS else len(_MARK)
            continue
        end, balanced = _object_end(stream, at)
        if not balanced:  # junk, up to the first newline after the invalid byte
            newline = stream.find(b"\n", end)
            if end == len(stream) or newline < 0:
                rest = stream[at:].strip()
                over = len(stream) - at > limit
                return found + ([] if over else [Piece(rest, False, at, at + len(rest))]), over
            end = newline
        if end - at > limit:
            return found, True
        found.append(Piece(stream[at:end], balanced, at, end))
        at = end
    return found, False


def _object_end(stream: bytes, at: int) -> tuple[int, bool]:
    """Return where the object ends, or where it becomes invalid (the end of input: unfinished)."""
    depth, in_string, escaped = 0, False, False
    for place in range(at, len(stream)):
        byte = stream[place : place + 1]
        if in_string:
            if byte == b"\n":
                return place, False
            in_string = escaped or byte != b'"'
            escaped = byte == b"\\" and not escaped
        elif byte == b'"' and depth:
            in_string = True
        elif byte == b"{":
            depth += 1
        elif byte == b"}" and depth:
            depth -= 1
            if not depth:
                return place + 1, True
        elif not depth:
            return place, False
    return len(stream), False
