"""A fake server: answers hello as scripted, serves history from a log, sends other events on request."""

import contextlib
import queue
import socket
import threading
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from chat_protocol.commands import Command, Hello, History, Ping
from chat_protocol.dialects.ndjson import decode_command, encode
from chat_protocol.events import (
    Event,
    HistoryPage,
    Limits,
    MessageEvent,
    PongEvent,
    RoomState,
    ServerIdentity,
    Welcome,
)
from support.processes.process import TIMEOUT_S

Kind = TypeVar("Kind", bound=Command)
NO_LIMITS = Limits(65536, 8192, 0, 0, 0, 0, 0, 0)


def make_welcome(
    *rooms: RoomState, resumed: bool = False, session: str | None = "secret", **more: object
) -> Welcome:
    """Return a welcome; `more` overrides other fields."""
    plain = Welcome(
        protocol=1,
        id="me",
        username="ann",
        resumed=resumed,
        epoch="e",
        server=ServerIdentity("scripted", "0", "node"),
        rooms=rooms,
        limits=NO_LIMITS,
        ping_interval=0,
        session=session,
    )
    return msgspec.structs.replace(plain, **more)


def make_message(seq: int, room: str = "lobby", sender: str = "bob", **more: object) -> MessageEvent:
    """Return a message of a room; its text is its seq, `more` overrides other fields."""
    plain = MessageEvent(
        room=room, seq=seq, sender=sender, username=sender, message=str(seq), timestamp=0.0, origin="client"
    )
    return msgspec.structs.replace(plain, **more)


class FakeConnection:
    """One connection; once `greeted` is set, its hello has been answered and is in `hello`."""

    def __init__(
        self, sock: socket.socket, log: list[MessageEvent], before_page: list[Event], replies: Iterable[Event]
    ) -> None:
        self.before_page = before_page
        self._sock = sock
        self._log = log
        self._replies = replies
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.greeted = threading.Event()
        self.hello = Hello(username="")
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, *events: Event) -> None:
        self._sock.sendall(b"".join(map(encode, events)))

    def next_command(self, kind: type[Kind]) -> Kind:
        """Return the next command; assert that it is of that class."""
        command = self._commands.get(timeout=TIMEOUT_S)
        assert isinstance(command, kind), command
        return command

    def break_connection(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._sock.makefile("rb") as lines:
            for line in lines:
                command = decode_command(line.strip())
                if isinstance(command, Hello):
                    self.hello = command
                    self.send(*self._replies)
                    self.greeted.set()
                elif isinstance(command, History):
                    self.send(*self.before_page, self._page(command))
                    self.before_page.clear()
                elif isinstance(command, Ping):
                    self.send(PongEvent(id=command.id, timestamp=0.0, ref=command.ref))
                else:
                    assert isinstance(command, Command)
                    self._commands.put(command)

    def _page(self, command: History) -> HistoryPage:
        log = [event for event in self._log if event.room == command.room]
        if command.after is not None:
            found = [event for event in log if event.seq > command.after]
            page, more = found[: command.limit], len(found) > command.limit
        else:
            page, more = log[-command.limit :], False
        return HistoryPage(room=command.room, messages=page, more=more, ref=command.ref)


class FakeServer:
    """Answers the hello of each connection with the next of `replies`.

    `log` has the messages for history; `before_page` are events sent directly before the next page.
    """

    def __init__(self, *replies: Event | Iterable[Event]) -> None:
        self.log: list[MessageEvent] = []
        self.before_page: list[Event] = []
        self._replies = [[one] if isinstance(one, Event) else list(one) for one in replies]
        self._connections: queue.SimpleQueue[FakeConnection] = queue.SimpleQueue()
        self._all: list[FakeConnection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def next_connection(self) -> FakeConnection:
        """Return the next connection, after its hello has been answered."""
        connection = self._connections.get(timeout=TIMEOUT_S)
        assert connection.greeted.wait(TIMEOUT_S)
        return connection

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT_S)
        for connection in self._all:
            connection.break_connection()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            for replies in self._replies:
                sock, _ = self._listener.accept()
                connection = FakeConnection(sock, self.log, self.before_page, replies)
                self._all.append(connection)
                self._connections.put(connection)
