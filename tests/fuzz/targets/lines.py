"""`LineBuffer`, compared with a model that has the whole stream."""

from chat_protocol.framing.lines import LineBuffer
from fuzz.cuts import same_for_all_cuts


def check(data: bytes) -> None:
    limit, stream = (data[0] % 16 + 1, data[1:]) if data else (1, b"")

    def feed(pieces: list[bytes]) -> tuple[list[bytes], bool, bytes]:
        buffer = LineBuffer(limit)
        found = []
        for piece in pieces:
            found += buffer.feed(piece)
            assert len(buffer._buffer or b"") <= limit + 1
        return found, buffer.overflowed, b"" if buffer.overflowed else buffer.take_unfinished()

    assert same_for_all_cuts(stream, feed) == _model(stream, limit)


def _model(stream: bytes, limit: int) -> tuple[list[bytes], bool, bytes]:
    *whole, rest = stream.split(b"\n")
    lines: list[bytes] = []
    for line in whole:
        if len(line.removesuffix(b"\r")) > limit:
            return lines, True, b""
        lines.append(line.removesuffix(b"\r"))
    if len(rest.removesuffix(b"\r")) > limit:
        return lines, True, b""
    return lines, False, rest.removesuffix(b"\r")
