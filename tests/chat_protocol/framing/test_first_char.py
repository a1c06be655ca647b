import pytest

from chat_protocol.framing.first_char import FirstCharFinder
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.framing.telnet import DATA_255, TelnetFilter

BOM = b"\xef\xbb\xbf"


def find(pieces: list[bytes]) -> tuple[FirstCharFinder, bytes, bytes]:
    """Feed pieces until the character is found; return the text before it, and all that follows."""
    finder = FirstCharFinder(TelnetFilter())
    for index, piece in enumerate(pieces):
        before, rest = finder.feed(piece)
        if before or rest:
            return finder, before, rest + b"".join(pieces[index + 1 :])
    return finder, b"", b""


@pytest.mark.parametrize(
    ("leading", "json_only"),
    [
        (b"", False),
        (b" \t\r\n\n", False),
        (BOM, False),
        (BOM + BOM + b"\n", False),
        (b"\r\0\r\0", False),
        (b"\xff\xfb\x1f\xff\xfa\x1f{\0\x50\n\xff\xf0\xff\xf1\xff\xf7\xff\xf8", False),
        (b"\0", True),
        (b"\r\n\0", True),
        (b"\r\0\0", True),
        (b"\x1e", True),
        (BOM + b"\x1e\0\0\xff\xf1\0 ", True),
    ],
)
@pytest.mark.parametrize("rest", [b'{"a":1}\n', b"hi\n", b"\xef\xbf", b"\xef\xbb\xbe", b"\xc3\xa9"])
def test_first_char_is_found_whatever_the_pieces(leading: bytes, json_only: bool, rest: bytes) -> None:
    stream = leading + rest
    for pieces in (
        [stream],
        [bytes([byte]) for byte in stream],
        *([stream[:place], stream[place:]] for place in range(1, len(stream))),
    ):
        finder, before, following = find(pieces)
        assert (before, following, finder.json_only) == (b"", rest, json_only)


@pytest.mark.parametrize("first", [b"\xff\xff", b"\xffa", b"\xff\xd8", b"\xff\n"])
def test_first_char_may_be_the_byte_255(first: bytes) -> None:
    for pieces in ([b"\n" + first + b"b"], [b"\n", first[:1], first[1:], b"b"]):
        _, before, rest = find(pieces)
        assert (before, rest) == (DATA_255, (b"" if first == b"\xff\xff" else first[1:]) + b"b")


def test_first_char_keeps_what_erases_it() -> None:
    for pieces in ([b"\xff\xf8\xff\xff\xff\xf7hi"], [b"\xff\xf8\xff\xff", b"\xff\xf7hi"]):
        _, before, rest = find(pieces)
        assert before + rest == b"\xff\xff\xff\xf7hi"


def test_first_char_finder_keeps_an_incomplete_mark() -> None:
    finder, before, rest = find([b" ", BOM[:2]])
    assert (before, rest) == (b"", b"")
    assert finder.take_unfinished() == BOM[:2]
    assert finder.take_unfinished() == b""


@pytest.mark.parametrize("step", [1000, 2 * MAX_FRAME_BYTES])
def test_first_char_finder_bounds_what_only_json_has_before_it(step: int) -> None:
    for size in (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        stream = b"\0" * size + b"{"
        finder, _, rest = find([stream[at : at + step] for at in range(0, len(stream), step)])
        assert finder.overflowed == (size > MAX_FRAME_BYTES)
        assert rest == (b"" if finder.overflowed else b"{")
