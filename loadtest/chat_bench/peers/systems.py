"""The systems under test: commands, configuration files, and the protocol that each speaks."""

import itertools
import os
import re
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from chat_bench.peers.protocols import (
    MARK,
    ROOM,
    IrcProtocol,
    MqttProtocol,
    NatsProtocol,
    NdjsonProtocol,
    RedisProtocol,
    WireProtocol,
    text_with,
)
from chat_bench.process import BenchError, Server, find_program, free_port
from chat_protocol.dialects import ndjson
from chat_protocol.events import MessageEvent


class System(ABC):
    """A system under test: it listens on 127.0.0.1 and keeps its files in a given folder."""

    name: str
    program: str
    protocol: WireProtocol
    promise = "nothing is kept"
    """What its sender may rely on once a message is acknowledged, for the table."""
    workloads = frozenset("abcde")
    """Those that it can run, by their letters in `bench.py`."""
    receivers = 1000
    """Receivers of a fan-out."""
    pair_clients = 200
    """Clients that send to each other in pairs."""
    settle = 0.0
    """Seconds after the last message within which deferred work is done."""
    pings = False
    """Whether the server pings its clients."""
    presence_s = 0.0
    """Seconds after joins for which presence events are still sent."""
    many_in_a_room = True
    """Whether 10,000 joins of one room fit in the bench's time budget."""

    def __init__(self, program: str) -> None:
        self.path = program
        self.version = self._version()

    @abstractmethod
    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command that serves on `port`, with its files in `folder`."""

    def start(self, folder: Path, ping_interval: float | None = None) -> Server:
        """Start a server, with its own new folder inside `folder`.

        `ping_interval`: seconds between the server's pings; None: its default. Systems with `pings` use it.
        """
        del ping_interval
        port = free_port()
        own = self.own_folder(folder)
        return Server(self.command(own, port), port=port, log=own / "output")

    def own_folder(self, folder: Path) -> Path:
        """Return a new folder for one server's files."""
        return Path(tempfile.mkdtemp(prefix=f"{self.name.replace(' ', '-')}-", dir=folder))

    def _version(self) -> str:
        done = subprocess.run(
            [self.path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found[0] if found else ""


class Greenroom(System):
    """Default settings, so durable; only limits per client and per address are off."""

    name = "greenroom"
    program = "chat-server"
    protocol = NdjsonProtocol()
    promise = "written to the disk's cache before it is acknowledged"
    settle = 1.0  # Checkpoints come once a second.
    pings = True
    presence_s = 6.0  # In a large room, presence is sent at most every 5 s.

    def command(self, folder: Path, port: int) -> list[str]:
        """Return `chat-server` with its own store."""
        return [
            *(self.path, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--store", f"sqlite:///{folder}/greenroom.db", "--log-file", f"{folder}/greenroom.log"),
            *("--rate-messages", "0", "--rate-bytes", "0", "--max-connections-per-address", "0"),
        ]

    def start(self, folder: Path, ping_interval: float | None = None) -> Server:
        """Start `chat-server`; `ping_interval`: its `--ping-interval`, in seconds."""
        port = free_port()
        own = self.own_folder(folder)
        pings = [] if ping_interval is None else ["--ping-interval", f"{ping_interval:g}"]
        return Server([*self.command(own, port), *pings], port=port, log=own / "output")


class Redis(System):
    """Redis pub/sub, nothing stored."""

    name = "redis"
    program = "redis-server"
    protocol = RedisProtocol()

    def command(self, folder: Path, port: int) -> list[str]:
        """Return redis-server without persistence and without a limit of subscribers' output buffers."""
        return [
            *(self.path, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--maxclients", "19000", "--protected-mode", "no"),
            *("--client-output-buffer-limit", "pubsub 0 0 0"),
        ]


class Nats(System):
    """NATS core, nothing stored."""

    name = "nats"
    program = "nats-server"
    protocol = NatsProtocol()

    def command(self, folder: Path, port: int) -> list[str]:
        """Return nats-server with a long ping interval."""
        config = folder / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{port}"\nping_interval: "10m"\n', encoding="ascii")
        return [self.path, "-c", str(config)]


class Mosquitto(System):
    """MQTT with QoS 0, nothing stored."""

    name = "mosquitto"
    program = "mosquitto"
    protocol = MqttProtocol()

    def command(self, folder: Path, port: int) -> list[str]:
        """Return mosquitto for anonymous clients, with TCP_NODELAY as in all other systems."""
        config = folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""  # Else it drops the right to read the folder.
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            f"set_tcp_nodelay true\n{user}",
            encoding="ascii",
        )
        return [self.path, "-c", str(config)]


class NgIrcd(System):
    """IRC, nothing stored."""

    name = "ngircd"
    program = "ngircd"
    protocol = IrcProtocol()
    many_in_a_room = False  # Each join is announced to all members: 10,000 joins are 50 million deliveries.

    def command(self, folder: Path, port: int) -> list[str]:
        """Return ngircd without DNS look-ups, penalties and limits."""
        config = folder / "ngircd.conf"
        config.write_text(
            "[Global]\nName = bench.example.org\nInfo = bench\nAdminEMail = nobody@example.org\n"
            f"Listen = 127.0.0.1\nPorts = {port}\nMotdFile = {folder}/none\n"
            "[Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\nPingTimeout = 3600\n"
            "[Options]\nDNS = no\nIdent = no\nPAM = no\n",
            encoding="ascii",
        )
        return [self.path, "--nodaemon", "--config", str(config)]


def locate(wanted: type[System]) -> System | None:
    """Return the system, or None if its program is not installed."""
    path = find_program(wanted.program)
    return None if path is None else wanted(path)


def typical_frame_bytes() -> int:
    """Return the length of Greenroom's frame of the bench's text, by its codec."""
    text = text_with(MARK).decode()
    event = MessageEvent(
        room=ROOM,
        seq=1000,
        sender="x" * 12,
        username="publisher",
        message=text,
        timestamp=1700000000.123456,
        origin="client",
    )
    return len(ndjson.encode(event))


def measure_frame_bytes(system: System, folder: Path) -> int:
    """Return the length of that frame as received on a socket, for a seq of four digits."""
    asked = system.protocol.login("publisher", ROOM) + system.protocol.publish(ROOM, text_with(MARK))
    with (
        system.start(folder) as server,
        socket.create_connection(("127.0.0.1", server.port()), timeout=10) as client,
    ):
        client.sendall(asked)
        with client.makefile("rb") as lines:
            for line in itertools.islice(lines, 10):
                if MARK in line:
                    return len(line) + len("000")
    raise BenchError(f"{system.name} did not send a message back")
