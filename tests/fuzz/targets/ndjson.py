"""NDJSON: bytes in, commands and faults out."""

from chat_protocol.dialects.base import Incoming
from chat_protocol.dialects.ndjson import NdjsonCodec
from fuzz import incoming
from fuzz.cuts import same_for_all_cuts


def check(data: bytes) -> None:
    def feed(pieces: list[bytes]) -> list[Incoming]:
        return incoming.feed_codec(NdjsonCodec(), pieces)

    with incoming.short_frames():
        found = same_for_all_cuts(data, feed)
    incoming.check_items(found)
