"""Dialect detection: the dialect and the commands depend on the bytes alone, not on their pieces."""

from chat_protocol.dialects.base import Incoming
from chat_protocol.dialects.detect import DialectDetector
from fuzz import incoming
from fuzz.cuts import same_for_all_cuts


def check(data: bytes) -> None:
    def feed(pieces: list[bytes]) -> tuple[str, list[Incoming]]:
        detector = DialectDetector()
        found: list[Incoming] = []
        for piece in pieces:
            codec = detector.successor or detector
            found += codec.receive(piece)
            incoming.check_buffers(detector.successor or detector)
        codec = detector.successor or detector
        found += codec.receive_eof()
        return type(detector.successor).__name__, found

    with incoming.short_frames():
        _, found = same_for_all_cuts(data, feed)
    incoming.check_items(found)
