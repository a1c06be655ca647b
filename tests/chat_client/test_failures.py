"""Peers that are not a chat server, or violate the protocol."""

import socket
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chat_client import (
    Address,
    Back,
    Client,
    ConnectionFailed,
    ConnectionLost,
    Lost,
    follow,
    measure_all,
    parse_address,
)
from chat_client.base.backoff import Backoff
from chat_protocol.commands import History
from chat_protocol.dialects.ndjson import decode_command, encode
from chat_protocol.events import (
    Bye,
    Error,
    HistoryPage,
    Limits,
    MessageEvent,
    RoomState,
    ServerIdentity,
    Welcome,
)

WELCOME = Welcome(
    protocol=1,
    id="me",
    username="ann",
    resumed=False,
    epoch="e",
    server=ServerIdentity("peer", "0", "node"),
    rooms=[],
    limits=Limits(65536, 8192, 0, 0, 0, 0, 0, 0),
    ping_interval=0,
)


def answers(*frames: bytes) -> Callable[[socket.socket], object]:
    """Wait for the hello, write the frames, then close."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"".join(frames))

    return behave


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    "behave",
    [
        answers(),
        answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        answers(b"\xff\xfe\x00\n"),
        answers(b"[" * 100_000 + b"\n"),
        answers(b"x" * 70_000),
        answers(b'{"type":"welcome"}\n'),
        reset,
    ],
    ids=["closed", "http", "binary", "nested", "endless", "broken", "reset"],
)
def test_connect_to_another_protocol_raises_connection_failed(
    peer: Any, behave: Callable[[Any], object]
) -> None:
    with pytest.raises(ConnectionFailed):
        Client("ann", peer(behave).address, timeout=20).connect()


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def test_connect_to_a_silent_server_raises_connection_failed(peer: Any) -> None:
    with pytest.raises(ConnectionFailed, match=r"nothing received|no answer to hello"):
        Client("ann", peer(silent).address, timeout=0.2).connect()


def test_measure_all_with_a_silent_server_reports_no_rtt(server: Any, peer: Any) -> None:
    quiet, dead = parse_address(peer(silent).address), Address("127.0.0.1", 1)
    here = parse_address(server.address)
    results = measure_all([quiet, dead, here], timeout=3)
    assert results[0].address == here
    assert {result.address for result in results if result.rtt_ms is None} == {quiet, dead}
    with Client("choosy", [dead, here]) as client:
        assert client.address == here
    with pytest.raises(ConnectionFailed, match="connection refused"):
        Client("choosy", [dead, dead]).connect()


def test_unknown_types_codes_and_reasons_are_accepted(peer: Any) -> None:
    later = (
        b'{"type":"from_the_future","x":1}\n'
        b'{"type":"error","code":"not_yet_invented","message":"a new sentence"}\n'
        b'{"type":"bye","reason":"not_yet_invented","message":"a new good-bye"}\n'
    )
    client = Client("ann", peer(answers(encode(WELCOME), later)).address)
    client.connect()
    assert isinstance(client.next_event(30), Welcome)
    error = client.next_event(30)
    assert isinstance(error, Error)
    assert error.message == "a new sentence"
    with pytest.raises(ConnectionLost, match="a new good-bye"):
        client.next_event(30)


@pytest.mark.parametrize("reason", ["kicked", "replaced"])
def test_client_kicked_or_replaced_does_not_reconnect(peer: Any, reason: Any) -> None:
    bad = peer(answers(encode(WELCOME), encode(Bye(reason=reason))))
    client = Client("ann", bad.address, reconnect=True)
    client.connect()
    with pytest.raises(ConnectionLost):
        list(client)
    assert bad.connections == 1


def test_reconnect_waits_as_long_as_bye_after(peer: Any) -> None:
    bad = peer(answers(encode(WELCOME), encode(Bye(reason="shutdown", after=100.0))))  # type: ignore[arg-type]
    client = Client("ann", bad.address, reconnect=True)
    client.connect()
    event = client.next_event(30)
    while not isinstance(event, Lost):
        event = client.next_event(30)
    assert event.wait >= 100
    client.close()


def test_each_failed_attempt_to_reconnect_is_a_lost_event(peer: Any) -> None:
    bad = peer(answers(encode(WELCOME)))
    client = Client("ann", bad.address, reconnect=True, backoff=Backoff(0.001, 0.002))
    client.connect()
    kinds = [type(client.next_event(30)) for _ in range(8)]
    assert kinds == [Welcome, Lost, Welcome, Back, Lost, Welcome, Back, Lost]
    client.close()


def test_follow_fills_a_missing_seq_from_the_log(peer: Any) -> None:
    # Given a server that has skipped seq 2, which is in its log
    messages = [
        MessageEvent(
            room="r", seq=seq, sender="x", username="x", message=str(seq), timestamp=0, origin="client"
        )
        for seq in range(1, 5)
    ]

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        welcome = msgspec.structs.replace(WELCOME, rooms=[RoomState("r", 0, 1)])
        connection.sendall(encode(welcome) + encode(messages[0]) + encode(messages[2]))
        for line in connection.makefile("rb"):
            command = decode_command(line.strip())
            if isinstance(command, History):
                assert command.after is not None
                page = HistoryPage(
                    ref=command.ref, room="r", messages=messages[command.after : 3], more=False
                )
                connection.sendall(encode(messages[3]) + encode(page))

    with Client("ann", peer(behave).address, rooms=["r"], ping_every=0, timeout=30) as client:
        found = follow(client, "r")
        assert [next(found).seq for _ in range(4)] == [1, 2, 3, 4]
        client.close()
