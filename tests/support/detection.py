"""Feeds bytes to the detector of dialects, in all pieces."""

from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.errors import ErrorCode, Fault


def detect_pieces(pieces: list[bytes]) -> tuple[Codec, list[Incoming]]:
    """Feed `pieces` as a connection does: to the successor, once there is one."""
    detector = DialectDetector()
    found: list[Incoming] = []
    for piece in pieces:
        found += (detector.successor or detector).receive(piece)
    return detector.successor or detector, found


def detect_all_cuts(stream: bytes) -> tuple[type[Codec], list[Incoming]]:
    """Feed `stream` whole, byte by byte, and split at each index; assert that the results are equal."""
    whole, found = detect_pieces([stream])
    for pieces in (
        [bytes([byte]) for byte in stream],
        *([stream[:place], stream[place:]] for place in range(1, len(stream))),
    ):
        chosen, again = detect_pieces(pieces)
        assert (type(chosen), again) == (type(whole), found)
    return type(whole), found


def codes(found: list[Incoming]) -> list[str]:
    return [item.code if isinstance(item, Fault) else item.__class__.__name__ for item in found]


def assert_closed(chosen: type[Codec], found: list[Incoming], word: str) -> None:
    """Assert that no dialect was detected, and that the only result is a fault that closes."""
    assert chosen == DialectDetector
    [fault] = found
    assert isinstance(fault, Fault)
    assert fault.code == ErrorCode.BAD_FRAME
    assert fault.close
    assert word in fault.message
