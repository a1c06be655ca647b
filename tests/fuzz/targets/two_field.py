"""Two-field JSON: bytes in, commands and faults out; output is from a user or from `server`."""

import json

import msgspec

from chat_protocol.commands import Say
from chat_protocol.dialects import two_field
from chat_protocol.dialects.base import Incoming
from chat_protocol.errors import Fault
from chat_protocol.events import MessageEvent, Notice
from fuzz import incoming
from fuzz.cuts import same_for_all_cuts


def check(data: bytes) -> None:
    def feed(pieces: list[bytes]) -> list[Incoming]:
        return incoming.feed_codec(two_field.TwoFieldCodec(), pieces)

    with incoming.short_frames():
        found = same_for_all_cuts(data, feed)
    incoming.check_items(found)
    assert not any(isinstance(item, Fault) and item.close for item in found[:-1])
    for item in found:
        if isinstance(item, Fault):
            continue
        assert isinstance(item, Say)
        inbound = two_field.InboundObject(item.username, item.message, item.room, item.to)
        assert two_field.decode_object(msgspec.json.encode(inbound)) == item
        message = MessageEvent(
            room="lobby",
            seq=1,
            sender="id",
            username=item.username,
            message=item.message,
            timestamp=0.0,
            origin="client",
        )
        written = two_field.encode_messages([message, message])
        line = {"username": item.username, "message": item.message, "timestamp": 0.0}
        assert [json.loads(each) for each in written.splitlines()] == [line, line]
        for each in two_field.encode(Notice(text=item.message)).splitlines():
            assert json.loads(each)["username"] == "server"
