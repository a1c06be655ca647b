"""Runs the fuzz targets briefly and without the fuzzer, so that they stay valid."""

import random
import sys
import types
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.dialects import detect
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.dialects.ndjson import NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.two_field import TwoFieldCodec
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME_BYTES, LineBuffer
from chat_protocol.framing.telnet import TelnetFilter
from fuzz.cuts import cuts
from fuzz.lines_shown import one_line_each
from fuzz.seeds import CORPUS, TARGETS, check_of, seeds

Fed = Callable[[bytes], object]


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_passes(target: str) -> None:
    assert len(seeds(target)) > 3
    for seed in seeds(target):
        check_of(target)(seed)


@pytest.mark.parametrize("target", TARGETS)
def test_random_mutations_of_seeds_pass(target: str) -> None:
    check = check_of(target)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(st.sampled_from(seeds(target)) | st.binary(max_size=12), max_size=3), st.randoms())
    def holds(parts: list[bytes], dice: random.Random) -> None:
        data = bytearray(b"".join(part[dice.randint(0, len(part)) :] for part in parts))
        for _ in range(min(3, len(data))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        check(bytes(data))

    holds()


def test_every_target_has_a_module_and_seeds() -> None:
    assert sorted(TARGETS) == sorted(path.stem for path in CORPUS.glob("*.txt"))
    assert sorted(TARGETS) == sorted(path.stem for path in (CORPUS.parent / "targets").glob("*.py"))


def test_short_frames_restores_the_limits() -> None:
    check_of("detect")(b"hi\n")
    assert LineBuffer().limit == ObjectSplitter().limit == vars(detect)["MAX_FRAME_BYTES"] == MAX_FRAME_BYTES


@given(st.binary(max_size=200))
def test_cuts_are_of_the_same_stream(data: bytes) -> None:
    for pieces in cuts(data):
        assert b"".join(pieces) == data


@pytest.mark.parametrize(
    "written", [b"[13:53] ann: hi\n[13:54] bob: ha\n", b"* a\x1b[2J\n", b"* a", b"    a\n"]
)
def test_one_line_each_detects_a_forged_line(written: bytes) -> None:
    with pytest.raises(AssertionError):
        one_line_each(written, 1)


def steps(feed: Fed, pieces: list[bytes]) -> int:
    """Count the lines of `chat_protocol` that are executed while `pieces` are fed."""
    count = 0

    def line(frame: types.FrameType, event: str, _argument: object) -> object:
        nonlocal count
        if "chat_protocol" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(line)  # type: ignore[arg-type]
    try:
        for piece in pieces:
            feed(piece)
    finally:
        sys.settrace(before)
    return count


def detector_feed() -> Fed:
    detector = DialectDetector()

    def feed(data: bytes) -> object:
        return (detector.successor or detector).receive(data)

    return feed


@pytest.mark.parametrize(
    "make",
    [
        lambda: LineBuffer().feed,
        lambda: TelnetFilter().feed,
        lambda: ObjectSplitter().feed,
        lambda: NdjsonCodec().receive,
        lambda: TwoFieldCodec().receive,
        lambda: PlainTextCodec().receive,
        detector_feed,
    ],
    ids=["lines", "telnet", "json_objects", "ndjson", "two_field", "plain_text", "detect"],
)
@pytest.mark.parametrize(
    "unit",
    [
        b"x",
        b"\n",
        b" ",
        b"{",
        b"{}",
        b'"',
        b'{"a":"',
        b'{"\\\\',
        b"\0",
        b"\r",
        b"\xef\xbb\xbf",
        b"\xff\xfb",
        b"\xff\xf1",
        b"\xff\xfd\x01",
        b"a\xff\xf7",
        b"\xff\xfaxx\xff\xf0",
        b"\xff\xfa\xff\xff",
        b'{"type":"ping"}\n',
        b"{}\n",
        b"{[\n",
    ],
    ids=ascii,
)
def test_decoding_takes_linear_time(make: Callable[[], Fed], unit: bytes) -> None:
    # Four times the bytes may cost four times the steps, and a constant.
    for cut in (1, len(unit) + 1, 64):
        short, long = unit * 60, unit * 240
        few = steps(make(), [short[at : at + cut] for at in range(0, len(short), cut)])
        many = steps(make(), [long[at : at + cut] for at in range(0, len(long), cut)])
        assert 0 < many <= 4 * few + 200
