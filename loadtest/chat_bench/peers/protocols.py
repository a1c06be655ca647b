"""The client side of each system's protocol: bytes to send and how to recognise the answers; no sockets.

Every text ends in a mark, a byte that occurs nowhere else in what a server sends. Receivers count marks, so a
delivery is counted once however the stream is split, and presence, pings and replies are not counted.
"""

import re
from abc import ABC, abstractmethod
from typing import Final

import msgspec

MARK: Final = b"|"
OTHER_MARK: Final = b"^"
"""Ends the texts of the second client of a pair, so that neither counts its own echo."""

TEXT_BYTES: Final = 64

ROOM: Final = "bench"
"""Of a fan-out."""


def text_with(mark: bytes) -> bytes:
    """Return the text of all messages: printable, `TEXT_BYTES` long, with `mark` at its end."""
    words = b"the quick brown fox jumps over the lazy dog and runs on and on "
    return words[: TEXT_BYTES - 1].ljust(TEXT_BYTES - 1, b".") + mark


class WireProtocol(ABC):
    """A client's side of one protocol. Names and rooms are short ASCII words."""

    echoes = False
    """Whether a sender gets its own message back."""

    logins_at_once = 64
    """How many connections may wait for their login; less than the server's listen backlog."""

    publisher_is_member = True
    """Whether a publisher has to receive what its room receives; else it subscribes to nothing of it."""

    acknowledges = False
    """Whether a receiver acknowledges each message, by `acknowledgements`."""

    @abstractmethod
    def login(self, name: str, room: str | None = None) -> bytes:
        """Return the login of `name`, to be reached by name, or as a receiver in `room`."""

    @abstractmethod
    def logged_in(self, room: str | None = None) -> bytes:
        """Return bytes that occur in the server's answer to `login`."""

    def publisher_login(self, name: str, room: str) -> bytes:
        """Return the login of the publisher of `room`; it is answered by `logged_in()`."""
        return self.login(name, room if self.publisher_is_member else None)

    @abstractmethod
    def publish(self, room: str, text: bytes) -> bytes:
        """Return a message to all in `room`."""

    def direct(self, name: str, text: bytes, sender: str = "") -> bytes:
        """Return a message of `sender` to one client; by default one that receives a room of its own name."""
        del sender
        return self.publish(name, text)

    def acknowledgements(self, data: bytes) -> list[bytes]:
        """Return what a receiver answers to each message in `data`, which holds whole ones."""
        raise NotImplementedError

    @abstractmethod
    def join(self, room: str) -> bytes:
        """Return the request to join another room."""

    @abstractmethod
    def joined(self, room: str) -> bytes:
        """Return bytes that occur in the answer to `join`."""

    def answer(self, data: bytes) -> bytes:
        """Return the reply that the server expects to `data`; empty if none."""
        del data
        return b""


class NdjsonProtocol(WireProtocol):
    """Greenroom."""

    echoes = True

    def login(self, name: str, room: str | None = None) -> bytes:
        """Enter as a client that says hello and no more: by default it joins the lobby."""
        hello: dict[str, object] = {"type": "hello", "username": name}
        return _line(hello if room is None else {**hello, "rooms": [room]})

    def logged_in(self, room: str | None = None) -> bytes:
        """Return the tag of `welcome`, which lists the rooms too."""
        del room
        return b'"type":"welcome"'

    def publish(self, room: str, text: bytes) -> bytes:
        """Return a `message` frame."""
        return _line({"type": "message", "room": room, "message": text.decode()})

    def direct(self, name: str, text: bytes, sender: str = "") -> bytes:
        """Return a `message` frame into a conversation."""
        del sender
        return _line({"type": "message", "to": name, "message": text.decode()})

    def join(self, room: str) -> bytes:
        """Return a `join` frame."""
        return _line({"type": "join", "room": room})

    def joined(self, room: str) -> bytes:
        """Return the tag of `joined`."""
        del room
        return b'"type":"joined"'

    def answer(self, data: bytes) -> bytes:
        """Return a `pong` for each `ping`."""
        if b'"type":"ping"' not in data:
            return b""
        pings = [line for line in data.splitlines() if b'"type":"ping"' in line and line.endswith(b"}")]
        return b"".join(_line({"type": "pong", "id": msgspec.json.decode(ping)["id"]}) for ping in pings)


class RedisProtocol(WireProtocol):
    """Redis pub/sub, RESP3: a connection that subscribes may publish too."""

    publisher_is_member = False

    def login(self, name: str, room: str | None = None) -> bytes:
        """Subscribe to the room, or to a channel of one's own."""
        return self._command("HELLO", "3") + self.join(room or name)

    def logged_in(self, room: str | None = None) -> bytes:
        """Return the kind of push that confirms a subscription."""
        del room
        return b"\r\nsubscribe\r\n"

    def publish(self, room: str, text: bytes) -> bytes:
        """Return a PUBLISH."""
        return self._command("PUBLISH", room, text.decode())

    def join(self, room: str) -> bytes:
        """Return a SUBSCRIBE."""
        return self._command("SUBSCRIBE", room)

    def joined(self, room: str) -> bytes:
        """Return the kind of push that confirms it."""
        return self.logged_in(room)

    @staticmethod
    def _command(*words: str) -> bytes:
        parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        return f"*{len(words)}\r\n{parts}".encode()


class NatsProtocol(WireProtocol):
    """NATS core."""

    publisher_is_member = False

    def login(self, name: str, room: str | None = None) -> bytes:
        """Connect, subscribe, and ask for a PONG, which comes after both."""
        return b'CONNECT {"verbose":false,"pedantic":false}\r\n' + self.join(room or name)

    def logged_in(self, room: str | None = None) -> bytes:
        """Return PONG."""
        del room
        return b"PONG\r\n"

    def publish(self, room: str, text: bytes) -> bytes:
        """Return a PUB."""
        return b"PUB %b %d\r\n%b\r\n" % (room.encode(), len(text), text)

    def join(self, room: str) -> bytes:
        """Return a SUB, and a PING whose PONG confirms it; its id is the room's name, unique here."""
        return f"SUB {room} {room}\r\nPING\r\n".encode()

    def joined(self, room: str) -> bytes:
        """Return PONG."""
        return self.logged_in(room)

    def answer(self, data: bytes) -> bytes:
        """Return a PONG to the server's PING."""
        return b"PONG\r\n" if b"PING\r\n" in data else b""


class MqttProtocol(WireProtocol):
    """MQTT 3.1.1 (OASIS standard, chapters 2 and 3), QoS 0, no keepalive."""

    logins_at_once = 32  # Mosquitto's backlog is 100.

    publisher_is_member = False

    def login(self, name: str, room: str | None = None) -> bytes:
        """Connect with a clean session and subscribe to the room, or to a topic of one's own."""
        head = self._string("MQTT") + b"\x04\x02\x00\x00"  # level 4, clean session, keepalive 0
        return self._packet(0x10, head + self._string(name)) + self.join(room or name)

    def logged_in(self, room: str | None = None) -> bytes:
        """Return a SUBACK for packet 1, QoS 0."""
        del room
        return b"\x90\x03\x00\x01\x00"

    def publish(self, room: str, text: bytes) -> bytes:
        """Return a PUBLISH."""
        return self._packet(0x30, self._string(room) + text)

    def join(self, room: str) -> bytes:
        """Return a SUBSCRIBE, packet 1, QoS 0."""
        return self._packet(0x82, b"\x00\x01" + self._string(room) + b"\x00")

    def joined(self, room: str) -> bytes:
        """Return its SUBACK."""
        return self.logged_in(room)

    @staticmethod
    def _string(text: str) -> bytes:
        return len(text).to_bytes(2, "big") + text.encode()

    @staticmethod
    def _packet(kind: int, body: bytes) -> bytes:
        """Return a packet with its remaining length, of one byte: all packets here are short."""
        if len(body) >= 124:  # 124 is a mark, 128 needs a second byte
            raise ValueError("packet too long for this bench")
        return bytes([kind, len(body)]) + body


class IrcProtocol(WireProtocol):
    """IRC, RFC 2812."""

    logins_at_once = 8  # ngIRCd's backlog is 10.

    def login(self, name: str, room: str | None = None) -> bytes:
        """Register, and join the channel if there is one."""
        register = f"NICK {name}\r\nUSER {name} 0 * :{name}\r\n".encode()
        return register if room is None else register + self.join(room)

    def logged_in(self, room: str | None = None) -> bytes:
        """Return the end of the list of names; without a room, the last of the greeting."""
        return b" 422 " if room is None else self.joined(room)

    def publish(self, room: str, text: bytes) -> bytes:
        """Return a PRIVMSG to the channel."""
        return self.direct(f"#{room}", text)

    def direct(self, name: str, text: bytes, sender: str = "") -> bytes:
        """Return a PRIVMSG."""
        del sender
        return b"PRIVMSG %b :%b\r\n" % (name.encode(), text)

    def join(self, room: str) -> bytes:
        """Return a JOIN."""
        return f"JOIN #{room}\r\n".encode()

    def joined(self, room: str) -> bytes:
        """Return the end of the list of names."""
        del room
        return b" 366 "

    def answer(self, data: bytes) -> bytes:
        """Return a PONG to the server's PING."""
        ping = re.search(rb"^PING (\S+)\r$", data, re.MULTILINE)
        return b"PONG %b\r\n" % ping[1] if ping else b""


class RawProtocol(WireProtocol):
    """The C loop: no protocol. A message is as long as one of another system; a connection is a login."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes

    def login(self, name: str, room: str | None = None) -> bytes:
        """Return nothing."""
        del name, room
        return b""

    def logged_in(self, room: str | None = None) -> bytes:
        """Return nothing."""
        del room
        return b""

    def publish(self, room: str, text: bytes) -> bytes:
        """Return the text with padding before it."""
        del room
        return text.rjust(self._frame_bytes, b".")

    def join(self, room: str) -> bytes:
        """Return nothing."""
        return self.login("", room)

    def joined(self, room: str) -> bytes:
        """Return nothing."""
        return self.logged_in(room)


def _line(frame: dict[str, object]) -> bytes:
    return msgspec.json.encode(frame) + b"\n"
