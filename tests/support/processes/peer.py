"""An NDJSON client for tests, which returns each frame as received."""

import itertools
import json
from typing import Any

from support.processes.wire import ConnectionEnded, RawConnection

Frame = dict[str, Any]
_numbers = itertools.count(1)


def unique_name(name: str) -> str:
    """Return a name that no other test uses."""
    return f"{name}-{next(_numbers)}"


class NdjsonPeer(RawConnection):
    """A connection with the native dialect; `hello` gives it a name."""

    username = ""
    id = ""
    raw = b""
    """The bytes of the last frame."""

    def send_frame(self, kind: str, /, **fields: object) -> None:
        """Send a frame; a field whose name is a Python keyword ends in `_`."""
        frame = {"type": kind} | {key.removesuffix("_"): value for key, value in fields.items()}
        self.send(json.dumps(frame, ensure_ascii=False).encode() + b"\n")

    def next_frame(self) -> Frame:
        """Return the next frame."""
        self.raw = self.read_line()
        frame: Frame = json.loads(self.raw)
        return frame

    def said_until(self, last: str) -> list[tuple[str, str]]:
        """Return (room, text) of the messages that come, up to the text `last`."""
        found = []
        while True:
            frame = self.expect("message")
            found.append((str(frame["room"]), str(frame["message"])))
            if frame["message"] == last:
                return found

    def expect(self, kind: str, /, **fields: object) -> Frame:
        """Return the next frame of this type with these fields; skip others."""
        wanted = {"type": kind} | {key.removesuffix("_"): value for key, value in fields.items()}
        passed = []
        try:
            while True:
                frame = self.next_frame()
                if all(frame.get(key) == value for key, value in wanted.items()):
                    return frame
                passed.append(frame)
        except (ConnectionEnded, TimeoutError) as error:
            raise AssertionError(f"no {wanted} in {passed} before {error!r}") from error

    def ask(self, kind: str, /, **fields: object) -> Frame:
        """Send a command and return its answer, by its `ref`."""
        ref = unique_name("ref")
        self.send_frame(kind, **{"ref": ref, **fields})
        while (frame := self.next_frame()).get("ref") != fields.get("ref", ref) or (
            frame["type"] == "message" and frame["from"] != self.id
        ):
            pass
        return frame

    def hello(self, name: str = "user", /, **fields: object) -> Frame:
        """Send hello with a unique name; return the welcome."""
        self.send_frame("hello", **{"username": unique_name(name), **fields})
        welcome = self.next_frame()
        assert welcome["type"] == "welcome", welcome
        self.username, self.id = welcome["username"], welcome["id"]
        return welcome

    def say(self, text: str, /, **fields: object) -> Frame:
        """Send a message; return its event, the acknowledgement."""
        answer = self.ask("message", message=text, **fields)
        assert answer["type"] == "message", answer
        return answer

    def expect_refusal(self, kind: str, /, **fields: object) -> str:
        """Send a command that must fail; return the error code. The error has a text and the `ref`."""
        answer = self.ask(kind, **fields)
        assert answer["type"] == "error", answer
        assert answer["message"], answer
        return str(answer["code"])

    def frames_so_far(self) -> list[Frame]:
        """Return all frames received so far (up to a pong)."""
        mark = unique_name("mark")
        self.send_frame("ping", id=mark)
        frames = []
        while (frame := self.next_frame()) != {
            "type": "pong",
            "id": mark,
            "timestamp": frame.get("timestamp"),
        }:
            frames.append(frame)
        return frames

    def expect_bye(self) -> Frame:
        """Return the `bye`, which must be the last frame."""
        frame = self.expect("bye")
        assert self.read_to_end() == b""
        return frame
