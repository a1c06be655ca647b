"""One small client a dialect, with the same verbs, so that a story can be told once for all of them.

A driver knows how its dialect says things and how it hears them, and nothing of what should happen.
`heard` is every message that came, in order; `told` is every sentence of the server's own.
"""

import json
import re
import time
from collections.abc import Callable
from typing import ClassVar

from support.processes.peer import unique
from support.processes.process import PATIENCE
from support.processes.wire import Ended, Wire

Said = tuple[str, str]
"""Who said it, and what."""


class Driver(Wire):
    """A person who speaks one dialect."""

    dialect: ClassVar[str]

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.name = ""
        self.heard: list[Said] = []
        self.told: list[str] = []

    # What each dialect has words for

    def enter(self, name: str) -> None:
        """Come in under a name, and wait until that is so."""
        raise NotImplementedError

    def saying(self, text: str) -> bytes:
        """Return the bytes by which one says `text`."""
        raise NotImplementedError

    def renaming(self, name: str) -> bytes:
        """Return the bytes by which one takes another name."""
        raise NotImplementedError

    def read(self) -> None:
        """Take one line of the server's."""
        raise NotImplementedError

    def telling(self, name: str, text: str) -> bytes:
        """Return the bytes by which one says `text` to one user."""
        raise NotImplementedError

    def asking_who(self) -> bytes:
        """Return the bytes by which one asks who is connected."""
        raise NotImplementedError

    def asking_rooms(self) -> bytes:
        """Return the bytes by which one asks which rooms there are."""
        raise NotImplementedError

    def joining(self, room: str) -> bytes:
        """Return the bytes by which one enters a room."""
        raise NotImplementedError

    def leaving(self) -> bytes:
        """Return the bytes by which one says good-bye."""
        raise NotImplementedError

    # What all can do

    def say(self, text: str) -> None:
        """Say something, and wait for one's own echo."""
        self.send(self.saying(text))
        self.hears(self.name, text)

    def hears(self, name: str, text: str) -> None:
        """Wait for a message from `name` with this text."""
        self.until(lambda: (name, text) in self.heard, f"{name}: {text[:100]!r}")

    def is_told(self, *words: str) -> None:
        """Wait for a sentence of the server's own that has all these words."""

        def found() -> bool:
            return any(all(word in sentence for word in words) for sentence in self.told)

        self.until(found, f"a sentence with {words}")

    def catch_up(self) -> None:
        """Take everything that has come by now."""
        self.say(unique("fence"))

    def hears_the_end(self) -> None:
        """Wait until the server has closed, taking what it says before."""
        try:
            while True:
                self.read()
        except Ended:
            pass

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until `condition` holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"no {what} in {self.heard} or {self.told}"
            try:
                self.read()
            except (Ended, TimeoutError) as error:
                raise AssertionError(f"no {what} in {self.heard} or {self.told}") from error


class Ndjson(Driver):
    """The native dialect; its lobby is where the stories play, so that all three meet."""

    dialect = "ndjson"

    def enter(self, name: str) -> None:
        self.name = name
        self.send(_json(type="hello", username=name))
        self.is_told("welcome", name)

    def saying(self, text: str) -> bytes:
        return _json(type="message", message=text)

    def renaming(self, name: str) -> bytes:
        return _json(type="rename", username=name)

    def telling(self, name: str, text: str) -> bytes:
        return _json(type="message", to=name, message=text)

    def asking_who(self) -> bytes:
        return _json(type="who")

    def asking_rooms(self) -> bytes:
        return _json(type="rooms")

    def joining(self, room: str) -> bytes:
        return _json(type="join", room=room)

    def leaving(self) -> bytes:
        return _json(type="quit")

    def looks_round(self) -> None:
        """Wait until the server has read whatever anybody sent before: two rounds of its loop."""
        for _ in range(2):
            mark = unique("mark")
            self.send(_json(type="ping", id=mark))
            self.is_told("pong", mark)

    def read(self) -> None:
        line = self.line()
        frame = json.loads(line)
        if frame["type"] == "message":
            self.heard.append((frame["username"], frame["message"]))
        elif frame["type"] == "presence":  # in the words of the others: who joined is not who left
            for verb in ("joined", "left"):
                self.told += [f"{name} {verb} {frame['room']}" for name in frame.get(verb, ())]
        else:
            self.told.append(line.decode())


class Simple(Driver):
    """Two fields."""

    dialect = "simple"

    def enter(self, name: str) -> None:
        self.name = name
        self.send(self.saying(unique("hello")))
        self.is_told("welcome", name)

    def saying(self, text: str) -> bytes:
        return _json(username=self.name, message=text)

    def renaming(self, name: str) -> bytes:
        return _json(username=name, message=unique("renamed"))

    def read(self) -> None:
        pair = json.loads(self.line())
        assert set(pair) <= {"username", "message", "timestamp"}
        if pair["username"] == "server":
            self.told.append(pair["message"])
        else:
            assert isinstance(pair["timestamp"], float)
            self.heard.append((pair["username"], pair["message"]))


class Text(Driver):
    """Lines, as with nc."""

    dialect = "text"

    _MESSAGE = re.compile(r"\[\d\d:\d\d\] (?:\(private @\S+\) )?(\S+): (.*)")

    def enter(self, name: str) -> None:
        self.name = name
        self.send(f"/nick {name}\n".encode())
        self.is_told("is now", name)

    def saying(self, text: str) -> bytes:
        return text.encode() + b"\n"

    def renaming(self, name: str) -> bytes:
        return f"/nick {name}\n".encode()

    def telling(self, name: str, text: str) -> bytes:
        return f"/msg {name} {text}\n".encode()

    def asking_who(self) -> bytes:
        return b"/who\n"

    def asking_rooms(self) -> bytes:
        return b"/rooms\n"

    def joining(self, room: str) -> bytes:
        return f"/join {room}\n".encode()

    def leaving(self) -> bytes:
        return b"bye\n"

    def read(self) -> None:
        line = self.line().decode()
        said = self._MESSAGE.fullmatch(line)
        if said:
            self.heard.append((said[1], said[2]))
        elif line.startswith("    "):
            name, text = self.heard[-1]
            self.heard[-1] = (name, f"{text}\n{line.removeprefix('    ')}")
        else:
            assert line.startswith("* "), line
            self.told.append(line.removeprefix("* "))


DRIVERS: dict[str, type[Driver]] = {each.dialect: each for each in (Ndjson, Simple, Text)}


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"
