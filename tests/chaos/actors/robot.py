"""A client written from docs/protocol.md alone: hello, resume, resend; sans-I/O.

Everything that it receives goes to the auditor. crowd.py owns its sockets.
"""

import json
from enum import Enum, auto
from typing import Any

import msgspec

from chaos.audit.auditor import Auditor, Frame
from chaos.audit.faults import FaultKind
from chaos.audit.sends import conversation_name

_decode = msgspec.json.Decoder().decode
MAX_UNACKNOWLEDGED = 512
"""The protocol requires fewer than 1,024."""


class RobotState(Enum):
    """State of a robot's session; `GONE` is final."""

    AWAY = auto()
    GREETING = auto()
    LIVE = auto()
    GONE = auto()


class Robot:
    """A resumable session; `out` is the output buffer of its connection."""

    def __init__(self, name: str, rooms: list[str], auditor: Auditor, *, must_resume: bool = True) -> None:
        self.name = name
        self.rooms = rooms
        self.auditor = auditor
        self.must_resume = must_resume
        self.id = ""
        self.secret = ""
        self.epoch = ""
        self.seqs: dict[str, int] = {}
        self.closed: set[str] = set()
        """Closed conversations, whose history can still be read."""
        self.unacknowledged: dict[str, Frame] = {}
        self.postponed: list[str] = []
        """Refs of messages refused as `unavailable`."""
        self.state = RobotState.AWAY
        self.out = bytearray()
        self.heard_at = 0.0
        self.last_bye: Frame | None = None
        """The `bye` of the last connection, if it had one."""
        self.refusals = 0
        self.cuts = 0
        self.resumed: bool | None = None
        """`resumed` of the last `welcome`."""
        self.turned_away = False
        """Whether its hello was refused and must be repeated on another connection."""
        self.pages: dict[str, list[Frame]] = {}
        self.complete_logs: set[str] = set()
        """Rooms whose log has been read completely."""
        self.expected: set[str] = {"unavailable"}
        self.delays: list[tuple[str, float]] | None = None
        """Ref and time of each message received, if latency is measured."""
        self._moving: set[str] = set()
        self._partial = b""
        self._asked: dict[str, int] | None = None
        self._refs = 0
        self._pings = 0

    # Connections.

    def connected(self) -> None:
        """Send hello on a new connection."""
        hello: Frame = {"type": "hello", "username": self.name, "resumable": True, "rooms": self.rooms}
        self._asked = None
        if self.secret:
            hello["resume"] = {"session": self.secret, "epoch": self.epoch, "rooms": dict(self.seqs)}
            self._asked = dict(self.seqs)
        self._partial = b""
        self.out.clear()
        self.last_bye = None
        self.turned_away = False
        self.state = RobotState.GREETING
        self._moving.clear()
        self._write(hello)

    def cut(self) -> None:
        """Forget the connection and partial input."""
        self.cuts += 1
        self._partial = b""
        self.out.clear()
        if self.state is not RobotState.GONE:
            self.state = RobotState.AWAY

    def receive(self, data: bytes, now: float) -> None:
        """Process received bytes."""
        self.heard_at = now
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            try:
                frame = _decode(line)
                kind = frame["type"]
            except (msgspec.DecodeError, TypeError, KeyError):
                self.auditor.report_fault(FaultKind.BAD_FRAME, self.name, f"{line!r}")
                continue
            if self.last_bye is not None:
                self.auditor.report_fault(FaultKind.BAD_FRAME, self.name, f"after bye: {line!r}")
            if kind == "message":
                self._message(frame, line, now)
            else:
                self._other(kind, frame)

    # Speaking.

    def say(self, text: str, *, room: str = "", to: str = "") -> str:
        """Send a message; return its ref."""
        self._refs += 1
        ref = f"{self.name}.{self._refs}"
        frame: Frame = {"type": "message", "message": text, "ref": ref}
        frame |= {"to": to} if to else {"room": room}
        self.unacknowledged[ref] = frame
        self._send_message(frame)
        return ref

    def resend_postponed(self) -> None:
        """Resend the messages refused as `unavailable`."""
        refs, self.postponed = self.postponed, []
        for ref in refs:
            if ref in self.unacknowledged:
                self._send_message(self.unacknowledged[ref])

    def join(self, room: str) -> None:
        self._moving.add(room)
        self._write({"type": "join", "room": room})

    def leave(self, room: str) -> None:
        self._moving.add(room)
        self._write({"type": "leave", "room": room})

    def close(self, peer: str) -> None:
        """Close the conversation with a peer; a message opens it again."""
        self._write({"type": "close", "with": peer, "ref": "close"})

    def settled_in(self, room: str) -> bool:
        """Return whether no join or leave of the room is pending."""
        return room not in self._moving

    def ping(self) -> None:
        self._pings += 1
        self._write({"type": "ping", "id": self._pings})

    def quit(self) -> None:
        self._write({"type": "quit"})
        self.state = RobotState.GONE

    def ask_log(self, room: str) -> None:
        """Request the whole log of a room into `pages`; `complete_logs` says when it is complete."""
        self.pages[room] = []
        self.complete_logs.discard(room)
        self._ask_page(room, 0)

    def _ask_page(self, room: str, after: int) -> None:
        self._write({"type": "history", "room": room, "after": after, "limit": 500, "ref": f"log {room}"})

    def _send_message(self, frame: Frame) -> None:
        room = conversation_name(self.name, frame["to"]) if "to" in frame else frame["room"]
        self.auditor.sent(self.name, frame["ref"], room, frame["message"])
        self._write(frame)

    def _write(self, frame: Frame) -> None:
        self.out += json.dumps(frame, ensure_ascii=False).encode() + b"\n"

    # Hearing.

    def _message(self, frame: Frame, line: bytes, now: float) -> None:
        self.auditor.message(self.name, frame, line, now)
        if not frame.get("again"):
            self.seqs[frame["room"]] = frame["seq"]
        if self.delays is not None:
            self.delays.append((frame.get("ref", ""), now))
        if frame["from"] == self.id:
            self.unacknowledged.pop(frame.get("ref", ""), None)

    def _other(self, kind: str, frame: Frame) -> None:
        match kind:
            case "ping":
                self._write({"type": "pong", "id": frame["id"]})
            case "pong" | "presence" | "renamed":
                return
            case "welcome":
                self._welcome(frame)
            case "joined" | "opened":
                self._moving.discard(frame["room"])
                self.auditor.entered(self.name, frame["room"], frame["seq"])
                self.seqs.setdefault(frame["room"], frame["seq"])
            case "left" | "closed":
                self._moving.discard(frame["room"])
                self.auditor.left(self.name, frame["room"])
                self.seqs.pop(frame["room"], None)
                if kind == "closed":
                    self.closed.add(frame["room"])
            case "gap":
                self.auditor.gap(self.name, frame)
                self.seqs[frame["room"]] = frame["last"]
            case "history":
                self._page(frame)
            case "bye":
                self.last_bye = frame
            case "error":
                self._error(frame)
            case _:
                self.auditor.report_fault(FaultKind.BAD_FRAME, self.name, f"unknown type: {frame}")

    def _welcome(self, frame: Frame) -> None:
        self.state = RobotState.LIVE
        self.resumed = frame["resumed"]
        asked = self._asked if self.must_resume else None
        self.auditor.welcomed(self.name, frame, asked)
        if not frame["resumed"]:
            self.auditor.given_up(self.name) if self.id else None
            self.unacknowledged.clear()
            self.postponed.clear()
            self.closed.clear()
            self.pages.clear()
            self.id, self.secret = frame["id"], frame["session"]
            self.seqs = {room["room"]: room["seq"] for room in frame["rooms"]}
        else:
            for room in frame["rooms"]:
                self.seqs.setdefault(room["room"], room["seq"])
        self.epoch = frame["epoch"]
        self.postponed.clear()
        for message in self.unacknowledged.values():
            self._send_message(message)
        for room in self.pages.keys() - self.complete_logs:  # requested on the previous connection
            self.ask_log(room)

    def _page(self, frame: Frame) -> None:
        room = frame["room"]
        self.pages[room].extend(frame["messages"])
        if frame["more"]:
            self._ask_page(room, frame["after"])
        else:
            self.complete_logs.add(room)

    def _error(self, frame: dict[str, Any]) -> None:
        explained = frame["code"] in self.expected or (
            frame.get("ref") == "close"  # there may be nothing to close, or the store may fail
        )
        self.auditor.refused(self.name, frame, explained=explained)
        self.refusals += 1
        ref = frame.get("ref", "")
        self.turned_away = self.state is RobotState.GREETING
        if explained and ref in self.unacknowledged:
            self.postponed.append(ref)
        elif explained and ref.startswith("log "):
            self.ask_log(ref.removeprefix("log "))
