import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.framing.lines import MAX_FRAME_BYTES, LineBuffer


def naive(stream: bytes, limit: int) -> tuple[list[bytes], bytes, bool]:
    """Model: split the whole stream into lines, the unfinished rest, and whether a line was too long."""
    *whole, rest = stream.split(b"\n")
    lines: list[bytes] = []
    for line in whole:
        if len(line.removesuffix(b"\r")) > limit:
            return lines, b"", True
        lines.append(line.removesuffix(b"\r"))
    if len(rest.removesuffix(b"\r")) > limit:
        return lines, b"", True
    return lines, rest.removesuffix(b"\r"), False


def chopped(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", b"\n\n", b"0123456"]), max_size=30).map(
        b"".join
    ),
    st.lists(st.integers(0, 200), max_size=10),
    st.integers(1, 9),
)
def test_line_buffer_fed_in_pieces_equals_the_model(stream: bytes, cuts: list[int], limit: int) -> None:
    for pieces in (chopped(stream, cuts), [bytes([byte]) for byte in stream], [stream]):
        buffer = LineBuffer(limit)
        lines = [line for piece in pieces for line in buffer.feed(piece)]
        assert (lines, buffer.take_unfinished(), buffer.overflowed) == naive(stream, limit)


def test_line_buffer_line_of_the_limit_passes() -> None:
    line = b"x" * MAX_FRAME_BYTES
    for ending in (b"\n", b"\r\n"):
        for cut in (0, 1, MAX_FRAME_BYTES - 1, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
            buffer = LineBuffer()
            pieces = chopped(line + ending, [cut])
            assert [line for piece in pieces for line in buffer.feed(piece)] == [line]
            assert not buffer.overflowed


def test_line_buffer_line_over_the_limit_overflows() -> None:
    stream = b"x" * (MAX_FRAME_BYTES + 1) + b"\n"
    for cut in (0, 1, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        buffer = LineBuffer()
        assert [line for piece in chopped(stream, [cut]) for line in buffer.feed(piece)] == []
        assert buffer.overflowed


def test_line_buffer_overflows_before_the_newline() -> None:
    buffer = LineBuffer()
    buffer.feed(b"x" * MAX_FRAME_BYTES)
    assert not buffer.overflowed
    buffer.feed(b"x")
    assert buffer.overflowed


def test_line_buffer_carriage_return_at_the_limit_waits_for_its_newline() -> None:
    buffer = LineBuffer(3)
    assert buffer.feed(b"abc\r") == []
    assert not buffer.overflowed
    assert buffer.feed(b"\n") == [b"abc"]
    buffer.feed(b"abc\r")
    assert buffer.feed(b"d") == []
    assert buffer.overflowed


def test_line_buffer_returns_lines_before_an_overflow_only() -> None:
    buffer = LineBuffer(3)
    assert buffer.feed(b"a\nbc\ntoolong\nd\n") == [b"a", b"bc"]
    assert buffer.overflowed
    assert buffer.feed(b"e\n") == []
    assert buffer.take_unfinished() == b""


def test_line_buffer_newlines_are_empty_lines() -> None:
    assert LineBuffer().feed(b"\n" * MAX_FRAME_BYTES) == [b""] * MAX_FRAME_BYTES


def test_line_buffer_without_input_returns_nothing() -> None:
    buffer = LineBuffer()
    assert buffer.feed(b"") == []
    assert buffer.take_unfinished() == b""


def test_line_buffer_idle_allocates_no_memory() -> None:
    buffer = LineBuffer()
    buffer.feed(b"one\ntwo\n")
    assert buffer._buffer is None


def test_line_buffer_byte_by_byte_takes_linear_time() -> None:
    # A copy at each byte would move 250 GB here.
    size = 700_000
    buffer = LineBuffer(size)
    began = time.thread_time()
    for _ in range(size):
        buffer.feed(b"x")
    assert buffer.feed(b"\n") == [b"x" * size]
    assert time.thread_time() - began < 10
