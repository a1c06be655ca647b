"""The peers that keep messages: each in the way of its manual that comes nearest to Greenroom's promise.

All acknowledge a message once it has been written to a file's cache, or are about to write it; none waits for
the disk, as Greenroom by default does not.
"""

import contextlib
import socket
from pathlib import Path
from typing import Final

from chat_bench.peers.protocols import (
    MqttProtocol,
    NatsProtocol,
    RedisProtocol,
)
from chat_bench.peers.systems import Mosquitto, Nats, NgIrcd, Redis, System
from chat_bench.process import BenchError, Server

STREAM: Final = "BENCH"
_SUBJECTS: Final = "chat"  # of the stream: `chat.NAME`; inboxes are not kept
_ANSWER_S: Final = 10.0


class JetStreamProtocol(NatsProtocol):
    """NATS with a stream: a publisher names an inbox, to which the stream acknowledges each message."""

    def login(self, name: str, room: str | None = None) -> bytes:
        """Connect, subscribe to the room or to a subject of one's own, and to the inbox."""
        inbox = f"SUB inbox.{name} inbox\r\n".encode()
        return b'CONNECT {"verbose":false,"pedantic":false}\r\n' + inbox + self.join(room or name)

    def join(self, room: str) -> bytes:
        """Return a SUB, and a PING whose PONG confirms it."""
        return f"SUB {_SUBJECTS}.{room} {room}\r\nPING\r\n".encode()

    def publish(self, room: str, text: bytes, sender: str = "publisher") -> bytes:
        """Return a PUB that asks for an acknowledgement."""
        head = f"PUB {_SUBJECTS}.{room} inbox.{sender} {len(text)}\r\n".encode()
        return head + text + b"\r\n"

    def direct(self, name: str, text: bytes, sender: str = "") -> bytes:
        """Return a PUB that asks for an acknowledgement."""
        return self.publish(name, text, sender)


class JetStream(Nats):
    """NATS JetStream: one stream in files, one replica, default sync (every two minutes)."""

    name = "nats JetStream"
    promise = "written to the disk's cache before it is acknowledged"
    protocol = JetStreamProtocol()
    workloads = frozenset("abce")

    def command(self, folder: Path, port: int) -> list[str]:
        """Return nats-server with its store in `folder`."""
        command = super().command(folder, port)
        with (folder / "nats.conf").open("a", encoding="ascii") as config:
            config.write(f'jetstream {{ store_dir: "{folder}/jetstream" }}\n')
        return command

    def start(self, folder: Path, ping_interval: float | None = None) -> Server:
        """Start it, and make the stream."""
        with contextlib.ExitStack() as on_failure:
            server = super().start(folder, ping_interval)
            on_failure.callback(server.stop)
            _make_stream(server.port())
            on_failure.pop_all()
        return server


def _make_stream(port: int) -> None:
    asked = f'{{"name":"{STREAM}","subjects":["{_SUBJECTS}.>"],"storage":"file","num_replicas":1}}'
    request = f"PUB $JS.API.STREAM.CREATE.{STREAM} made {len(asked)}\r\n{asked}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as client:
        client.sendall(f'CONNECT {{"verbose":false}}\r\nSUB made 1\r\n{request}'.encode())
        said = b""
        while b'"type":"io.nats.jetstream.api.v1.stream_create_response"' not in said:
            more = client.recv(65536)
            if not more:
                raise BenchError(f"nats-server closed the connection, after {said[-300:]!r}")
            said += more
    if b'"error"' in said:
        raise BenchError(f"no stream was made: {said[-300:]!r}")


class RedisStreamProtocol(RedisProtocol):
    """Redis: each message is added to a stream, which is kept, and published to those that are connected."""

    def publish(self, room: str, text: bytes) -> bytes:
        """Return an XADD and a PUBLISH."""
        stored = self._command("XADD", f"log:{room}", "*", "text", text.decode())
        return stored + super().publish(room, text)


class RedisStreams(Redis):
    """Redis with its append-only file, synced every second, a stream a room, and pub/sub beside it."""

    name = "redis AOF"
    promise = "written to the disk's cache before it is acknowledged"
    protocol = RedisStreamProtocol()
    workloads = frozenset("abce")

    def command(self, folder: Path, port: int) -> list[str]:
        """Return redis-server with `appendfsync everysec`."""
        command = super().command(folder, port)
        command[command.index("--appendonly") + 1] = "yes"
        return [*command, "--appendfsync", "everysec"]


class MqttQos1Protocol(MqttProtocol):
    """MQTT 3.1.1, QoS 1, sessions that are kept: each message is acknowledged on both ways."""

    acknowledges = True

    def login(self, name: str, room: str | None = None) -> bytes:
        """Connect without a clean session, and subscribe."""
        head = self._string("MQTT") + b"\x04\x00\x00\x00"  # level 4, a session that is kept, keepalive 0
        return self._packet(0x10, head + self._string(name)) + self.join(room or name)

    def logged_in(self, room: str | None = None) -> bytes:
        """Return a SUBACK for packet 1, QoS 1."""
        del room
        return b"\x90\x03\x00\x01\x01"

    def publish(self, room: str, text: bytes) -> bytes:
        """Return a PUBLISH, QoS 1, packet 1."""
        return self._packet(0x32, self._string(room) + b"\x00\x01" + text)

    def join(self, room: str) -> bytes:
        """Return a SUBSCRIBE, packet 1, QoS 1."""
        return self._packet(0x82, b"\x00\x01" + self._string(room) + b"\x01")

    def acknowledgements(self, data: bytes) -> list[bytes]:
        """Return a PUBACK for each PUBLISH in `data`."""
        found = []
        at = 0
        while at < len(data):
            kind, end = data[at], at + 2 + data[at + 1]
            if end > len(data):
                raise BenchError("a message came in two reads")
            if kind & 0xF0 == 0x30:
                topic_bytes = int.from_bytes(data[at + 2 : at + 4], "big")
                found.append(b"\x40\x02" + data[at + 4 + topic_bytes : at + 6 + topic_bytes])
            at = end
        return found


class MosquittoQos1(Mosquitto):
    """Mosquitto with QoS 1 and persistence: saved after each 1,000 changes, and at the end."""

    name = "mosquitto QoS 1"
    promise = "kept in memory for clients that are away; saved now and then"
    protocol = MqttQos1Protocol()
    workloads = frozenset("ce")

    def command(self, folder: Path, port: int) -> list[str]:
        """Return mosquitto with its store in `folder`."""
        command = super().command(folder, port)
        config = folder / "mosquitto.conf"
        text = config.read_text(encoding="ascii").replace("persistence false", "persistence true")
        config.write_text(
            f"{text}persistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1000\n"
            "max_inflight_messages 0\nmax_queued_messages 0\n",
            encoding="ascii",
        )
        return command


PEERS: Final[tuple[type[System], ...]] = (
    Redis,
    RedisStreams,
    Nats,
    JetStream,
    Mosquitto,
    MosquittoQos1,
    NgIrcd,
)
