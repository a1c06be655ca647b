"""The first bytes of a connection: the dialect, and what comes of them, hang on the bytes alone."""

from chat_protocol.dialects.base import Incoming
from chat_protocol.dialects.detect import Sniffer
from fuzz import incoming
from fuzz.cuts import same_for_all_cuts


def check(data: bytes) -> None:
    def feed(pieces: list[bytes]) -> tuple[str, list[Incoming]]:
        sniffer = Sniffer()
        found: list[Incoming] = []
        for piece in pieces:
            codec = sniffer.chosen or sniffer
            found += codec.receive(piece)
            incoming.bounded(sniffer.chosen or sniffer)
        codec = sniffer.chosen or sniffer
        found += codec.end()
        return type(sniffer.chosen).__name__, found

    with incoming.short_frames():
        _, found = same_for_all_cuts(data, feed)
    incoming.whole(found)
