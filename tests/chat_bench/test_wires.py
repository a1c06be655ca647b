"""Bytes for each system: marks, logins, pongs."""

import pytest

from chat_bench.wires import (
    MARK,
    OTHER_MARK,
    TEXT_BYTES,
    IrcWire,
    MqttWire,
    NatsWire,
    NdjsonWire,
    RawWire,
    RedisWire,
    Wire,
    text_with,
)
from chat_protocol.commands import Hello, Message, Pong
from chat_protocol.dialects.ndjson import NdjsonCodec, encode
from chat_protocol.events import PingEvent

WIRES = [NdjsonWire(), RedisWire(), NatsWire(), MqttWire(), IrcWire(), RawWire(200)]


@pytest.mark.parametrize("mark", [MARK, OTHER_MARK])
def test_text_has_its_length_and_ends_in_one_mark(mark: bytes) -> None:
    text = text_with(mark)
    assert len(text) == TEXT_BYTES
    assert text.index(mark) == TEXT_BYTES - 1
    assert text.decode().isprintable()


@pytest.mark.parametrize("wire", WIRES)
def test_only_the_text_carries_a_mark(wire: Wire) -> None:
    for number in range(0, 20_000, 7):
        name = f"u{number}"
        assert wire.direct(name, text_with(MARK)).count(MARK) == 1
        assert OTHER_MARK not in wire.direct(name, text_with(MARK))
        assert MARK not in wire.login(name) + wire.login(name, "bench")
        assert OTHER_MARK not in wire.login(name)


def test_ndjson_wire_sends_valid_commands() -> None:
    wire = NdjsonWire()
    codec = NdjsonCodec()
    sent = wire.login("ann", "bench") + wire.publish("bench", text_with(MARK)) + wire.direct("bob", b"hi")
    hello, to_room, to_bob = codec.receive(sent)
    assert isinstance(hello, Hello)
    assert isinstance(to_room, Message)
    assert isinstance(to_bob, Message)
    assert hello.rooms == ["bench"]
    assert (to_room.room, to_bob.to) == ("bench", "bob")


def test_ndjson_wire_answers_each_ping() -> None:
    pings = (
        encode(PingEvent(id="7"))
        + b'{"type":"presence","room":"lobby","count":3}\n'
        + encode(PingEvent(id="8"))
    )
    pongs = NdjsonCodec().receive(NdjsonWire().answer(pings))
    assert pongs == [Pong(id="7"), Pong(id="8")]


def test_ndjson_wire_does_not_answer_half_a_ping() -> None:
    assert NdjsonWire().answer(encode(PingEvent(id="7"))[:-5]) == b""


def test_other_wires_answer_pings() -> None:
    assert NatsWire().answer(b"PING\r\n") == b"PONG\r\n"
    assert IrcWire().answer(b":x JOIN #a\r\nPING :irc.example.org\r\n") == b"PONG :irc.example.org\r\n"
    assert IrcWire().answer(b":x PRIVMSG a :PING\r\n") == b""


def test_mqtt_wire_encodes_the_length() -> None:
    packet = MqttWire().publish("bench", b"hello")
    assert packet == b"\x30\x0c\x00\x05benchhello"


def test_redis_wire_encodes_the_lengths() -> None:
    assert RedisWire().publish("r", b"hi") == b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nr\r\n$2\r\nhi\r\n"
