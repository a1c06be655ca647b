"""One small client a dialect, with the same verbs, so that a story can be told once for all of them.

A driver knows how its dialect says things and how it hears them, and nothing of what should happen.
`heard` is every message that came, in order; `told` is every sentence of the server's own.
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
"""Who said it, and what."""


class Driver(RawConnection):
    """A person who speaks one dialect."""

    dialect: ClassVar[str]

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.name = ""
        self.messages: list[Message] = []
        self.notices: list[str] = []

    # What each dialect has words for

    def enter(self, name: str) -> None:
        """Come in under a name, and wait until that is so."""
        raise NotImplementedError

    def encode_message(self, text: str) -> bytes:
        """Return the bytes by which one says `text`."""
        raise NotImplementedError

    def encode_rename(self, name: str) -> bytes:
        """Return the bytes by which one takes another name."""
        raise NotImplementedError

    def read(self) -> None:
        """Take one line of the server's."""
        raise NotImplementedError

    def encode_private(self, name: str, text: str) -> bytes:
        """Return the bytes by which one says `text` to one user."""
        raise NotImplementedError

    def encode_list_users(self) -> bytes:
        """Return the bytes by which one asks who is connected."""
        raise NotImplementedError

    def encode_list_rooms(self) -> bytes:
        """Return the bytes by which one asks which rooms there are."""
        raise NotImplementedError

    def encode_join(self, room: str) -> bytes:
        """Return the bytes by which one enters a room."""
        raise NotImplementedError

    def encode_quit(self) -> bytes:
        """Return the bytes by which one says good-bye."""
        raise NotImplementedError

    # What all can do

    def say(self, text: str) -> None:
        """Say something, and wait for one's own echo."""
        self.send(self.encode_message(text))
        self.expect_message(self.name, text)

    def expect_message(self, name: str, text: str) -> None:
        """Wait for a message from `name` with this text."""
        self.until(lambda: (name, text) in self.messages, f"{name}: {text[:100]!r}")

    def expect_notice(self, *words: str) -> None:
        """Wait for a sentence of the server's own that has all these words."""

        def found() -> bool:
            return any(all(word in sentence for word in words) for sentence in self.notices)

        self.until(found, f"a sentence with {words}")

    def read_all(self) -> None:
        """Take everything that has come by now."""
        self.say(unique_name("fence"))

    def read_until_closed(self) -> None:
        """Wait until the server has closed, taking what it says before."""
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
    """The native dialect; its lobby is where the stories play, so that all three meet."""

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
        """Wait until the server has read whatever anybody sent before: two rounds of its loop."""
        for _ in range(2):
            mark = unique_name("mark")
            self.send(_json(type="ping", id=mark))
            self.expect_notice("pong", mark)

    def read(self) -> None:
        line = self.read_line()
        frame = json.loads(line)
        if frame["type"] == "message":
            self.messages.append((frame["username"], frame["message"]))
        elif frame["type"] == "presence":  # in the words of the others: who joined is not who left
            for verb in ("joined", "left"):
                self.notices += [f"{name} {verb} {frame['room']}" for name in frame.get(verb, ())]
        else:
            self.notices.append(line.decode())


class TwoFieldDriver(Driver):
    """Two fields."""

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
    """Lines, as with nc."""

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
