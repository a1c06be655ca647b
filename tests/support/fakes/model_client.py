"""A client that follows the protocol over all its connections, and audits what it receives."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from chat_protocol import commands

if TYPE_CHECKING:
    from support.core_stage.peer import Peer

ROOMS = ("lobby", "Garden")
OUTBOX_BYTES = 600
"""Bytes that may wait: two messages and an answer."""


class ModelClient:
    """What a client knows, over all its connections."""

    def __init__(self, name: str, lines: dict[tuple[str, int], set[bytes]]) -> None:
        self.name = name
        self.lines = lines  # (room, seq) -> the bytes in which anybody got it
        self.peer: Peer | None = None
        self.id = self.session = self.epoch = ""
        self.positions: dict[str, int] = {}
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.unacknowledged: dict[str, commands.Message] = {}
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.before: dict[str, set[str]] = {}  # ref of a command -> refs of what was said before it
        self._read = 0

    def hello(self) -> commands.Hello:
        if not self.session:
            return commands.Hello(username=self.name, rooms=list(ROOMS), resumable=True)
        resume = commands.Resume(session=self.session, epoch=self.epoch, rooms=dict(self.positions))
        return commands.Hello(username=self.name, resumable=True, resume=resume)

    def attach(self, peer: Peer) -> None:
        self.peer = peer
        self.peer.outbox.limit = OUTBOX_BYTES
        self._read = 0

    def read(self, lost: float = 0.0) -> None:
        """Read what has come; of what has not been read, a part may be `lost`."""
        assert self.peer is not None
        outbox = self.peer.outbox
        end = len(outbox.data) - outbox.queued_bytes
        if lost:
            kept = self._read + int((end - self._read) * (1 - lost))
            end = kept
        for line in outbox.data[self._read : end].splitlines(keepends=True):
            if line.endswith(b"\n"):
                self._read += len(line)
                self._receive(line, json.loads(line))
        outbox.acked = max(outbox.acked, self._read)

    def _receive(self, line: bytes, frame: dict[str, Any]) -> None:
        if frame.get("ref") in self.before and frame["type"] != "error":
            assert not self.before[frame["ref"]] & set(self.unacknowledged)
        match frame["type"]:
            case "welcome":
                self._welcome(frame)
            case "joined" | "opened":
                room, seq = frame["room"], frame["seq"]
                assert self.positions.setdefault(room, seq) == seq
            case "left" | "closed":
                self.positions.pop(frame["room"], None)
            case "message":
                self._message(line, frame)
            case "error" if "ref" in frame:
                assert frame["code"] != "internal", frame
                if self.unacknowledged.pop(frame["ref"], None) is not None:
                    self.refused.add(frame["ref"])
            case "gap":
                raise AssertionError(frame)

    def _welcome(self, frame: dict[str, Any]) -> None:
        assert frame["resumed"] is bool(self.session)
        if frame["resumed"]:
            assert (frame["id"], frame["session"]) == (self.id, self.session)
        self.id, self.session, self.epoch = frame["id"], frame["session"], frame["epoch"]
        states = {room["room"]: room["seq"] for room in frame["rooms"]}
        assert self.positions.items() <= states.items()  # it continues where its client stopped, everywhere
        self.positions = states

    def _message(self, line: bytes, frame: dict[str, Any]) -> None:
        room, seq = frame["room"], frame["seq"]
        if frame["from"] == self.id:
            self.acknowledged.add(frame["ref"])
            self.unacknowledged.pop(frame["ref"], None)
        if "again" in frame or (room not in self.positions and frame["from"] == self.id):
            return  # an acknowledgement only
        assert seq == self.positions[room] + 1, (room, seq, self.positions)
        self.positions[room] = seq
        self.seen[room].append(seq)
        self.lines[room, seq].add(line)
