"""A small client for each dialect, with the same methods, so that one test can run in all dialects.

A driver encodes and decodes its dialect, and contains no expectations of a test. `messages` are all received
messages, in order; `notices` are all other sentences of the server.
"""

import json
import re
import time
from collections.abc import Callable
from typing import ClassVar

from support.processes.peer import unique_name
from support.processes.process import TIMEOUT_S
from support.processes.wire import ConnectionEnded, RawConnection

Message = tuple[str, str]
"""Sender and text."""


class Driver(RawConnection):
    """A client of one dialect."""

    dialect: ClassVar[str]

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.name = ""
        self.messages: list[Message] = []
        self.notices: list[str] = []

    # Defined by each dialect

    def enter(self, name: str) -> None:
        """Open the session under a name, and wait until the server has accepted it."""
        raise NotImplementedError

    def encode_message(self, text: str) -> bytes:
        """Return the bytes that send `text`."""
        raise NotImplementedError

    def encode_rename(self, name: str) -> bytes:
        """Return the bytes that change the name."""
        raise NotImplementedError

    def read(self) -> None:
        """Read one line of the server."""
        raise NotImplementedError

    def encode_private(self, name: str, text: str) -> bytes:
        """Return the bytes that send `text` to one user."""
        raise NotImplementedError

    def encode_list_users(self) -> bytes:
        """Return the bytes that request the list of users."""
        raise NotImplementedError

    def encode_list_rooms(self) -> bytes:
        """Return the bytes that request the list of rooms."""
        raise NotImplementedError

    def encode_join(self, room: str) -> bytes:
        """Return the bytes that join a room."""
        raise NotImplementedError

    def encode_quit(self) -> bytes:
        """Return the bytes that end the session."""
        raise NotImplementedError

    # Common to all dialects

    def say(self, text: str) -> None:
        """Send a message, and wait for its echo."""
        self.send(self.encode_message(text))
        self.expect_message(self.name, text)

    def expect_message(self, name: str, text: str) -> None:
        """Wait for a message from `name` with this text."""
        self.until(lambda: (name, text) in self.messages, f"{name}: {text[:100]!r}")

    def expect_notice(self, *words: str) -> None:
        """Wait for a notice of the server that contains all these words."""

        def found() -> bool:
            return any(all(word in sentence for word in words) for sentence in self.notices)

        self.until(found, f"a sentence with {words}")

    def read_all(self) -> None:
        """Read everything that was sent before now: send a message and read up to its echo."""
        self.say(unique_name("fence"))

    def read_until_closed(self) -> None:
        """Read until the server closes the connection."""
        try:
            while True:
                self.read()
        except ConnectionEnded:
            pass

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until `condition` holds."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what} in {self.messages} or {self.notices}"
            try:
                self.read()
            except (ConnectionEnded, TimeoutError) as error:
                raise AssertionError(f"no {what} in {self.messages} or {self.notices}") from error


class NdjsonDriver(Driver):
    """NDJSON. Tests use its default room, the lobby, where all dialects meet."""

    dialect = "ndjson"

    def enter(self, name: str) -> None:
        self.name = name
        self.send(_json(type="hello", username=name))
        self.expect_notice("welcome", name)

    def encode_message(self, text: str) -> bytes:
        return _json(type="message", message=text)

    def encode_rename(self, name: str) -> bytes:
        return _json(type="rename", username=name)

    def encode_private(self, name: str, text: str) -> bytes:
        return _json(type="message", to=name, message=text)

    def encode_list_users(self) -> bytes:
        return _json(type="who")

    def encode_list_rooms(self) -> bytes:
        return _json(type="rooms")

    def encode_join(self, room: str) -> bytes:
        return _json(type="join", room=room)

    def encode_quit(self) -> bytes:
        return _json(type="quit")

    def wait_for_server_reads(self) -> None:
        """Wait until the server has read everything sent before by any client: two rounds of its loop."""
        for _ in range(2):
            mark = unique_name("mark")
            self.send(_json(type="ping", id=mark))
            self.expect_notice("pong", mark)

    def read(self) -> None:
        line = self.read_line()
        frame = json.loads(line)
        if frame["type"] == "message":
            self.messages.append((frame["username"], frame["message"]))
        elif frame["type"] == "presence":  # worded as in the other dialects
            for verb in ("joined", "left"):
                self.notices += [f"{name} {verb} {frame['room']}" for name in frame.get(verb, ())]
        else:
            self.notices.append(line.decode())


class TwoFieldDriver(Driver):
    """Two-field JSON."""

    dialect = "simple"

    def enter(self, name: str) -> None:
        self.name = name
        self.send(self.encode_message(unique_name("hello")))
        self.expect_notice("welcome", name)

    def encode_message(self, text: str) -> bytes:
        return _json(username=self.name, message=text)

    def encode_rename(self, name: str) -> bytes:
        return _json(username=name, message=unique_name("renamed"))

    def read(self) -> None:
        pair = json.loads(self.read_line())
        assert set(pair) <= {"username", "message", "timestamp"}
        if pair["username"] == "server":
            self.notices.append(pair["message"])
        else:
            assert isinstance(pair["timestamp"], float)
            self.messages.append((pair["username"], pair["message"]))


class PlainTextDriver(Driver):
    """Plain text, as with nc."""

    dialect = "text"

    _MESSAGE = re.compile(r"\[\d\d:\d\d\] (?:\(private @\S+\) )?(\S+): (.*)")

    def enter(self, name: str) -> None:
        self.name = name
        self.send(f"/nick {name}\n".encode())
        self.expect_notice("is now", name)

    def encode_message(self, text: str) -> bytes:
        return text.encode() + b"\n"

    def encode_rename(self, name: str) -> bytes:
        return f"/nick {name}\n".encode()

    def encode_private(self, name: str, text: str) -> bytes:
        return f"/msg {name} {text}\n".encode()

    def encode_list_users(self) -> bytes:
        return b"/who\n"

    def encode_list_rooms(self) -> bytes:
        return b"/rooms\n"

    def encode_join(self, room: str) -> bytes:
        return f"/join {room}\n".encode()

    def encode_quit(self) -> bytes:
        return b"bye\n"

    def read(self) -> None:
        line = self.read_line().decode()
        said = self._MESSAGE.fullmatch(line)
        if said:
            self.messages.append((said[1], said[2]))
        elif line.startswith("    "):
            name, text = self.messages[-1]
            self.messages[-1] = (name, f"{text}\n{line.removeprefix('    ')}")
        else:
            assert line.startswith("* "), line
            self.notices.append(line.removeprefix("* "))


DRIVERS: dict[str, type[Driver]] = {
    each.dialect: each for each in (NdjsonDriver, TwoFieldDriver, PlainTextDriver)
}


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"
