import re
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat_protocol.framing import json_objects
from chat_protocol.framing.json_objects import ObjectSplitter, Piece
from chat_protocol.framing.lines import MAX_FRAME_BYTES

BOM = b"\xef\xbb\xbf"
FRAGMENTS = (
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\n",
    b"\r\n",
    b" ",
    b",",
    b"x",
    b'{"a":1}',
    b'{"b":"}{"}',
    b"}{",
    b'\\"',
    b"[1]",
    b"\0",
    b"\x1e",
    BOM,
    BOM[:1],
    BOM[:2],
)


def naive(stream: bytes, limit: int) -> tuple[list[Piece], bool]:
    """Model: scan the whole stream byte by byte; the rest is junk."""
    found: list[Piece] = []
    text = bytearray()
    depth, in_string, escaped, junk, start, skipped = 0, False, False, False, 0, 0
    for at, byte in enumerate(stream):
        char = bytes([byte])
        if not text:
            if at < skipped or char.isspace() or char in b",\0\x1e":
                continue
            if stream.startswith(BOM, at):
                skipped = at + len(BOM)
                continue
            start, junk = at, char != b"{"
        elif char == b"\n" and (junk or in_string):
            found.append(Piece(bytes(text), False, start, at))
            text.clear()
            depth, in_string, escaped, junk = 0, False, False, False
            continue
        text += char
        if len(text) > limit:
            return found, True
        if junk:
            continue
        if in_string:
            if escaped:
                escaped = False
            elif char == b"\\":
                escaped = True
            elif char == b'"':
                in_string = False
        elif char == b'"':
            in_string = True
        elif char == b"{":
            depth += 1
        elif char == b"}":
            depth -= 1
            if not depth:
                found.append(Piece(bytes(text), True, start, at + 1))
                text.clear()
    if text:
        rest = bytes(text).strip()
        found.append(Piece(rest, False, start, start + len(rest)))
    return found, False


def chopped(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


def split(pieces: list[bytes], limit: int = MAX_FRAME_BYTES) -> tuple[list[Piece], bool]:
    splitter = ObjectSplitter(limit)
    found = [found for piece in pieces for found in splitter.feed(piece)]
    return found + splitter.take_unfinished(), splitter.overflowed


@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join),
    st.lists(st.integers(0, 200), max_size=10),
    st.sampled_from([4, 12, MAX_FRAME_BYTES]),
)
def test_splitter_fed_in_pieces_equals_the_model(stream: bytes, cuts: list[int], limit: int) -> None:
    expected = naive(stream, limit)
    for pieces in (chopped(stream, cuts), [bytes([byte]) for byte in stream], [stream]):
        assert split(pieces, limit) == expected


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join))
def test_splitter_piece_has_its_offsets_in_the_stream(stream: bytes) -> None:
    found, _ = split([bytes([byte]) for byte in stream])
    assert [stream[piece.start : piece.end] for piece in found] == [piece.text for piece in found]


def test_splitter_objects_need_no_newline_and_may_contain_some() -> None:
    found, _ = split([b'{"a":1}{"b":2} , {\n"c":\n3}\n{"d":"}"}'])
    assert [piece.text for piece in found] == [b'{"a":1}', b'{"b":2}', b'{\n"c":\n3}', b'{"d":"}"}']
    assert all(piece.balanced for piece in found)


def test_splitter_junk_ends_at_the_newline() -> None:
    found, _ = split([b'junk {"a":1}\n{"b":2} more junk\n{"c":3}'])
    assert [(piece.text, piece.balanced) for piece in found] == [
        (b'junk {"a":1}', False),
        (b'{"b":2}', True),
        (b"more junk", False),
        (b'{"c":3}', True),
    ]


@pytest.mark.parametrize("broken", [b'{"a":"unclosed\n', b'{"a":"escaped \\\n'])
def test_splitter_raw_newline_in_a_string_makes_junk(broken: bytes) -> None:
    found, _ = split([broken + b'{"b":2}'])
    assert [piece.text for piece in found] == [broken[:-1], b'{"b":2}']


def _may_be_bom(piece: Piece, stream: bytes) -> bool:
    """Return whether a piece is the beginning of a byte order mark whose rest may follow."""
    return BOM.startswith(piece.text) and piece.end == len(stream)


@example(b"\xef\n", [], 4)
@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join),
    st.lists(st.integers(0, 200), max_size=10),
    st.sampled_from([4, 12, MAX_FRAME_BYTES]),
)
def test_splitter_that_stops_at_junk_returns_its_first_byte_last(
    stream: bytes, cuts: list[int], limit: int
) -> None:
    # What is found is the same as with all of the junk, up to its first byte
    whole, overflowed = naive(stream, limit)
    begin = next((piece for piece in whole if piece.text[:1] != b"{"), None)
    expected, stops = list(whole), begin is not None and not _may_be_bom(begin, stream)
    if begin is not None and stops:
        expected = [*whole[: whole.index(begin)], Piece(begin.text[:1], False, begin.start, begin.start + 1)]
    for pieces in (chopped(stream, cuts), [bytes([byte]) for byte in stream], [stream]):
        splitter = ObjectSplitter(limit, stop_at_junk=True)
        found = [found for piece in pieces for found in splitter.feed(piece)]
        if overflowed and not splitter.stopped:
            assert found == expected
        elif not overflowed:
            assert (found + splitter.take_unfinished(), splitter.stopped) == (expected, stops)
        if splitter.stopped:
            assert splitter.feed(b'{"a":1}') == splitter.take_unfinished() == []


@pytest.mark.parametrize(
    "between", [b"\0", b"\0" * 5000, b"\x1e", BOM, BOM + BOM, b" \r\n,\t\x0b\x0c", b"\n\0, \x1e" + BOM]
)
def test_splitter_skips_separators_that_come_in_any_pieces(between: bytes) -> None:
    stream = between + b'{"a":1}' + between + b'{"b":2}' + between
    for step in (1, 2, 7, len(stream)):
        splitter = ObjectSplitter(100, stop_at_junk=True)
        found = [
            found for at in range(0, len(stream), step) for found in splitter.feed(stream[at : at + step])
        ]
        assert [piece.text for piece in found] == [b'{"a":1}', b'{"b":2}']
        assert not splitter.stopped


def test_splitter_unfinished_object_is_junk_at_eof() -> None:
    splitter = ObjectSplitter()
    splitter.feed(b'{"a":1}  {"b":')
    assert splitter.peek_unfinished() == b'{"b":'
    assert splitter.take_unfinished() == [Piece(b'{"b":', False, 9, 14)]
    assert splitter.take_unfinished() == []


@pytest.mark.parametrize("step", [1, 1000, MAX_FRAME_BYTES * 2])
def test_splitter_object_over_the_limit_overflows(step: int) -> None:
    for size in (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        text = b'{"a":"' + b"x" * (size - 8) + b'"}'
        found, overflowed = split([text[at : at + step] for at in range(0, size, step)])
        assert overflowed == (size > MAX_FRAME_BYTES)
        assert [piece.text for piece in found] == ([] if overflowed else [text])


def test_splitter_after_an_overflow_returns_nothing() -> None:
    splitter = ObjectSplitter(10)
    assert [piece.text for piece in splitter.feed(b'{"a":1}{"bbbbbbbbbb":2}{"c":3}')] == [b'{"a":1}']
    assert splitter.overflowed
    assert splitter.feed(b'{"d":4}') == []
    assert splitter.take_unfinished() == []


@dataclass
class CountingPattern:
    """A pattern that counts the bytes it scans."""

    pattern: re.Pattern[bytes]
    looked: list[int] = field(default_factory=list)

    def search(self, text: bytearray, at: int) -> re.Match[bytes] | None:
        found = self.pattern.search(text, at)
        self.looked.append((found.end() if found else len(text)) - at)
        return found

    def match(self, text: bytearray, at: int) -> re.Match[bytes] | None:
        found = self.pattern.match(text, at)
        self.looked.append((found.end() if found else len(text)) - at)
        return found


@pytest.mark.parametrize(
    "stream",
    [
        b"{" * MAX_FRAME_BYTES,
        b"{}" * (MAX_FRAME_BYTES // 2),
        b'{"' + b"x" * (MAX_FRAME_BYTES - 2),
        b'{"' + b"\\" * (MAX_FRAME_BYTES - 2),
        b" " * MAX_FRAME_BYTES,
        b"{" + b"\n" * (MAX_FRAME_BYTES - 1),
        b"junk" * (MAX_FRAME_BYTES // 4),
    ],
    ids=["braces", "pairs", "string", "backslashes", "spaces", "newlines", "junk"],
)
@pytest.mark.parametrize("step", [1, 100, MAX_FRAME_BYTES])
def test_splitter_scans_in_linear_time(stream: bytes, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = []
    for name in ("_INSIDE_OBJECT", "_INSIDE_STRING", "_SEPARATORS"):
        counters.append(CountingPattern(getattr(json_objects, name)))
        monkeypatch.setattr(json_objects, name, counters[-1])
    split([stream[at : at + step] for at in range(0, len(stream), step)])
    assert sum(sum(counter.looked) for counter in counters) <= 2 * len(stream)


def test_no_expression_repeats_a_group_possessively() -> None:
    # Python before 3.11.5 takes what such a group tried last, and did not match, for a part of the match
    for name, pattern in vars(json_objects).items():
        if isinstance(pattern, re.Pattern):
            assert not re.search(rb"\)[*+?]\+", pattern.pattern), name
