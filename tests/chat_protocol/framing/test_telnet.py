from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.framing.telnet import ALIVE, TelnetFilter, apply_erasures

IAC, WILL, WONT, DO, DONT, SB, SE = b"\xff", b"\xfb", b"\xfc", b"\xfd", b"\xfe", b"\xfa", b"\xf0"
IP, AO, AYT, EC, EL, GA, BREAK, DM, NOP = (
    bytes([byte]) for byte in (244, 245, 246, 247, 248, 249, 243, 242, 241)
)
NAWS = b"\x1f"  # RFC 1073: negotiate about window size
TIMING_MARK = b"\x06"
FRAGMENTS = (
    *(b"a", b"hi", b"\xc3\xa9", b"\n", b"\r", b"\0", b"\r\n", b"\r\0", b"x\ny"),
    *(IAC, IAC + IAC, IAC + SB, IAC + SE, SE, IAC + b"a", IAC + b"\n", IAC + b"\xd8"),
    *(
        IAC + WILL + NAWS,
        IAC + DO + TIMING_MARK,
        IAC + WONT + b"\n",
        IAC + DONT + IAC,
        IAC + DO + IAC,
        IAC + DO,
    ),
    *(IAC + byte for byte in (IP, AO, AYT, EC, EL, GA, BREAK, DM, NOP)),
    *(IAC + SB + NAWS + b"\0\x50\0\n" + IAC + SE, IAC + SB + NAWS + IAC + IAC + b"\r\n" + IAC + SE),
    b"x" * 300,
)


def model(stream: bytes, limit: int) -> tuple[bytes, bytes, bool]:
    """Read the whole stream byte by byte: the text, the refusals, whether a subnegotiation is too long."""
    text, refusals, at, after_cr = bytearray(), bytearray(), 0, False
    while at < len(stream):
        byte, following = stream[at : at + 1], stream[at + 1 : at + 2]
        if byte != IAC:
            at += 1
            if not (after_cr and byte in b"\n\0"):
                text += b"\n" if byte == b"\r" else byte
            after_cr = byte == b"\r"
        elif not following:
            break
        elif following in WILL + WONT + DO + DONT:
            option = stream[at + 2 : at + 3]
            if option and following in WILL + DO:
                refusals += IAC + (DONT if following == WILL else WONT) + option
            at += 3
        elif following == SB:
            size, at = 0, at + 2
            while at < len(stream):
                if stream[at] != IAC[0]:
                    size, at = size + 1, at + 1
                elif (escaped := stream[at + 1 : at + 2]) == IAC or (escaped and escaped < b"\xec"):
                    size, at = size + 1, at + 2
                else:  # the end, or another command
                    size += 1
                    at += 2 if escaped == SE or not escaped else 0
                    break
                if size > limit:
                    break
            if size > limit:
                return bytes(text), bytes(refusals), True
        elif following in EC + EL or following == IAC:
            text += IAC + following
            at, after_cr = at + 2, False
        elif following < b"\xec":
            text += IAC + IAC
            at, after_cr = at + 1, False
        else:
            at += 2
    return bytes(text), bytes(refusals), False


def feed(pieces: list[bytes], limit: int = MAX_FRAME_BYTES) -> tuple[bytes, bytes, bool]:
    telnet = TelnetFilter(limit)
    text = b"".join(telnet.feed(piece) for piece in pieces)
    return text, telnet.take_output().replace(ALIVE, b""), telnet.overflowed


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(place % (len(stream) + 1) for place in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


@given(
    st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=14).map(b"".join),
    st.lists(st.integers(0, 400), max_size=8),
    st.sampled_from([200, 320, MAX_FRAME_BYTES]),
)
def test_filter_fed_in_pieces_equals_the_model(stream: bytes, cuts: list[int], limit: int) -> None:
    expected = model(stream, limit)
    for pieces in ([stream], cut(stream, cuts), [bytes([byte]) for byte in stream]):
        assert feed(pieces, limit) == expected


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (IAC + DO + TIMING_MARK, IAC + WONT + TIMING_MARK),
        (IAC + WILL + NAWS, IAC + DONT + NAWS),
        (IAC + DO + IAC, IAC + WONT + IAC),
        (IAC + WONT + NAWS, b""),
        (IAC + DONT + NAWS, b""),
        (IAC + IP, b""),
        (IAC + AYT, ALIVE),
        (IAC + IP + IAC + DM + IAC + DO + TIMING_MARK, IAC + WONT + TIMING_MARK),
        (IAC + SB + NAWS + DO + NAWS + IAC + SE, b""),
        (b"hi\r\n", b""),
    ],
)
def test_filter_refuses_requests_and_answers_nothing_else(asked: bytes, answered: bytes) -> None:
    for pieces in ([asked], [bytes([byte]) for byte in asked]):
        telnet = TelnetFilter()
        for piece in pieces:
            telnet.feed(piece)
        assert telnet.has_output == bool(answered)
        assert telnet.take_output() == answered
        assert not telnet.has_output
        assert telnet.take_output() == b""


def test_filter_does_not_answer_what_it_answers() -> None:
    # Two filters that refuse each other's refusals would never end (RFC 1143).
    one, other = TelnetFilter(), TelnetFilter()
    one.feed(b"".join(IAC + verb + bytes([option]) for verb in (WILL, DO) for option in range(256)))
    other.feed(one.take_output())
    assert not other.has_output


@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=30).map(b"".join))
def test_filter_answers_are_no_longer_than_the_requests(stream: bytes) -> None:
    telnet = TelnetFilter()
    telnet.feed(stream)
    assert len(telnet.take_output()) <= len(stream) + len(ALIVE)


def test_filter_answers_are_you_there_once_a_read() -> None:
    telnet = TelnetFilter()
    telnet.feed((IAC + AYT) * 1000)
    assert telnet.take_output() == ALIVE


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1])
@pytest.mark.parametrize("step", [1, 1000, 2 * MAX_FRAME_BYTES])
def test_filter_subnegotiation_over_the_limit_overflows(size: int, step: int) -> None:
    stream = b"a\n" + IAC + SB + b"x" * (size - 1) + IAC + SE + b"b\n"
    text, _, overflowed = feed([stream[at : at + step] for at in range(0, len(stream), step)])
    assert (text, overflowed) == ((b"a\nb\n", False) if size == MAX_FRAME_BYTES else (b"a\n", True))


@pytest.mark.parametrize(
    ("sent", "lines"),
    [
        (b"a\r\nb\r\0c\rd\ne", b"a\nb\nc\nd\ne"),
        (b"a\r\r\n\n", b"a\n\n\n"),
        (b"a\r" + IAC + NOP + b"\nb", b"a\nb"),
        (b"a\0b", b"a\0b"),
    ],
)
def test_filter_line_ends_become_line_feeds(sent: bytes, lines: bytes) -> None:
    for pieces in ([sent], [bytes([byte]) for byte in sent]):
        assert feed(pieces)[0] == lines


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b"ab" + IAC + EC + b"c", b"ac"),
        ("aé字😀".encode() + (IAC + EC) * 3 + b"c", b"ac"),
        (b"a" + (IAC + EC) * 3 + b"c", b"c"),
        (b"abc" + IAC + EL + b"d", b"d"),
        (IAC + EC + IAC + EL, b""),
        (b"a" + IAC + IAC + b"b", b"a\xffb"),
        (b"a" + IAC + b"b", b"a\xffb"),
        ("é".encode() + IAC + IAC + IAC + EC, "é".encode()),
    ],
)
def test_erasures_act_on_their_line(sent: bytes, line: bytes) -> None:
    for pieces in ([sent], [bytes([byte]) for byte in sent]):
        assert apply_erasures(feed(pieces)[0]) == line


@given(st.binary())
def test_erasures_of_any_line_make_it_no_longer(line: bytes) -> None:
    assert len(apply_erasures(line)) <= len(line)
