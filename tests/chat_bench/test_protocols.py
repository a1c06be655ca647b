"""Bytes for each system: marks, logins, pongs."""

import pytest

from chat_bench.peers.durable import JetStreamProtocol, MqttQos1Protocol, RedisStreamProtocol
from chat_bench.peers.protocols import (
    MARK,
    OTHER_MARK,
    TEXT_BYTES,
    IrcProtocol,
    MqttProtocol,
    NatsProtocol,
    NdjsonProtocol,
    RawProtocol,
    RedisProtocol,
    WireProtocol,
    text_with,
)
from chat_protocol.commands import Hello, Message, Pong
from chat_protocol.dialects.ndjson import NdjsonCodec, encode
from chat_protocol.events import PingEvent

PROTOCOLS = [
    NdjsonProtocol(),
    JetStreamProtocol(),
    RedisStreamProtocol(),
    MqttQos1Protocol(),
    RedisProtocol(),
    NatsProtocol(),
    MqttProtocol(),
    IrcProtocol(),
    RawProtocol(200),
]


@pytest.mark.parametrize("mark", [MARK, OTHER_MARK])
def test_text_has_its_length_and_ends_in_one_mark(mark: bytes) -> None:
    text = text_with(mark)
    assert len(text) == TEXT_BYTES
    assert text.index(mark) == TEXT_BYTES - 1
    assert text.decode().isprintable()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_the_text_carries_a_mark(protocol: WireProtocol) -> None:
    for number in range(0, 20_000, 7):
        name = f"u{number}"
        marks = protocol.direct(name, text_with(MARK)).count(MARK)
        assert marks == (2 if isinstance(protocol, RedisStreamProtocol) else 1)
        assert OTHER_MARK not in protocol.direct(name, text_with(MARK))
        assert MARK not in protocol.login(name) + protocol.login(name, "bench")
        assert OTHER_MARK not in protocol.login(name)


def test_ndjson_protocol_sends_valid_commands() -> None:
    protocol = NdjsonProtocol()
    codec = NdjsonCodec()
    sent = (
        protocol.login("ann", "bench")
        + protocol.publish("bench", text_with(MARK))
        + protocol.direct("bob", b"hi")
    )
    hello, to_room, to_bob = codec.receive(sent)
    assert isinstance(hello, Hello)
    assert isinstance(to_room, Message)
    assert isinstance(to_bob, Message)
    assert hello.rooms == ["bench"]
    assert (to_room.room, to_bob.to) == ("bench", "bob")


def test_ndjson_protocol_answers_each_ping() -> None:
    pings = (
        encode(PingEvent(id="7"))
        + b'{"type":"presence","room":"lobby","count":3}\n'
        + encode(PingEvent(id="8"))
    )
    pongs = NdjsonCodec().receive(NdjsonProtocol().answer(pings))
    assert pongs == [Pong(id="7"), Pong(id="8")]


def test_ndjson_protocol_does_not_answer_half_a_ping() -> None:
    assert NdjsonProtocol().answer(encode(PingEvent(id="7"))[:-5]) == b""


def test_other_protocols_answer_pings() -> None:
    assert NatsProtocol().answer(b"PING\r\n") == b"PONG\r\n"
    assert IrcProtocol().answer(b":x JOIN #a\r\nPING :irc.example.org\r\n") == b"PONG :irc.example.org\r\n"
    assert IrcProtocol().answer(b":x PRIVMSG a :PING\r\n") == b""


def test_mqtt_protocol_encodes_the_length() -> None:
    packet = MqttProtocol().publish("bench", b"hello")
    assert packet == b"\x30\x0c\x00\x05benchhello"


def test_redis_protocol_encodes_the_lengths() -> None:
    assert RedisProtocol().publish("r", b"hi") == b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nr\r\n$2\r\nhi\r\n"
