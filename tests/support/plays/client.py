"""What a client of a play knows, from the bytes that it has received: never from the server's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from support.plays.connection import Connection

NAMES: Final = ("ann", "bob", "cid", "dan", "eve")
DIALECTS: Final = ("ndjson", "simple", "text")
encode = msgspec.json.encode
decode = msgspec.json.decode


class Client:
    """A client, over all its connections. `ghosts` are those that it has given up and the server has not."""

    def __init__(self, number: int, dialect: str, address_key: str, *, resumable: bool, limit: int) -> None:
        self.number = number
        self.favourite = NAMES[number]
        self.dialect = dialect
        self.address_key = address_key
        self.resumable = resumable
        self.limit = limit
        self.link: Connection | None = None
        self.ghosts: list[Connection] = []
        self.name = ""  # once it is welcome
        self.secret = self.epoch = ""
        self.positions: dict[str, int] = {}
        self.peers: dict[str, str] = {}  # name of an open conversation -> its other user
        self.conversations: dict[str, None] = {}  # names of all that it has ever seen
        self.refs: list[tuple[str, bytes]] = []  # its last messages with a ref
        self.pings: list[str] = []
        self._read = 0

    def __str__(self) -> str:
        return self.favourite

    def attach(self, link: Connection) -> None:
        """Use a new connection; an old one becomes a ghost."""
        if self.link is not None:
            self.ghosts.append(self.link)
        self.link = link
        self.name = ""
        self._read = 0

    def detach(self) -> Connection:
        link = self.link
        assert link is not None
        self.link, self.name = None, ""
        return link

    def read(self, end: int) -> None:
        """Read the bytes up to a position in the stream."""
        assert self.link is not None
        if self.dialect != "ndjson":
            self.name = self.favourite if end else ""
            return
        at = self.link.outbox.data.rfind(b"\n", self._read, end) + 1
        if at <= self._read:
            return
        data, self._read = bytes(self.link.outbox.data[self._read : at]), at
        for line in data.splitlines():
            self._receive(decode(line))

    def forget(self) -> None:
        """Lose all state, as a program that is started again."""
        self.secret = self.epoch = ""
        self.positions, self.peers, self.refs = {}, {}, []

    def _receive(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                self.name, self.epoch = frame["username"], frame["epoch"]
                self.secret = frame.get("session", "")
                self.positions = {room["room"]: room["seq"] for room in frame["rooms"]}
                self.peers = {room["room"]: room["with"] for room in frame["rooms"] if "with" in room}
                self.conversations |= dict.fromkeys(self.peers)
            case "joined":
                self.positions[frame["room"]] = frame["seq"]
            case "opened":
                self.positions[frame["room"]] = frame["seq"]
                self.peers[frame["room"]] = frame["with"]
                self.conversations[frame["room"]] = None
            case "left" | "closed":
                self.positions.pop(frame["room"], None)
                self.peers.pop(frame["room"], None)
            case "message":
                if frame["room"] in self.positions and "again" not in frame:
                    self.positions[frame["room"]] = frame["seq"]
            case "renamed" if frame["old"] == self.name:
                self.name = frame["username"]
            case "ping":
                self.pings.append(frame["id"])
