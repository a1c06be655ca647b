"""The client library: a chat session as an object.

connection/reconnect.py keeps the connection, connection/pending.py holds commands until they are answered,
connection/session.py the state of the session. Uses blocking sockets and threads only, so it also works in
programs patched by gevent.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from chat_client.address import Address, as_addresses
from chat_client.base import paging
from chat_client.base.backoff import Backoff
from chat_client.base.rtt_samples import RttSamples
from chat_client.connection.encode import encode_command
from chat_client.connection.inbox import Inbox
from chat_client.connection.link import Link, dial
from chat_client.connection.pending import Pending, PendingCommands
from chat_client.connection.reconnect import Reconnector
from chat_client.connection.session import ClientSession, RoomView
from chat_client.connection.session_keeper import make_keeper
from chat_client.errors import ChatError, ConnectionLost, Ended, TimedOut
from chat_client.events import RoundTrip
from chat_client.server_selection import MeasuredServer, choose_server, measure_all
from chat_protocol import DEFAULT_PORT, LOBBY, commands
from chat_protocol.events import (
    Closed,
    Event,
    Joined,
    Left,
    MessageEvent,
    Opened,
    Renamed,
    RoomState,
    RttReport,
    ServerList,
    ServerState,
    User,
    Welcome,
)
from chat_protocol.message_text import text_problem

EventT = TypeVar("EventT", bound=Event)
_MEASURE_TIMEOUT_S = 3.0  # for each server when several are measured: a slower one is not the quickest
_Handler = Callable[[Event], object]


class Client:
    """A session with a chat server: `with Client("ann") as client: client.say("hi")`.

    - `username`: the name; `connect` raises `Refused` if it is taken or invalid.
    - `servers`: an address, or several of which the quickest is chosen (default `127.0.0.1:7072`).
    - `rooms`: the rooms to join on connecting (default: the lobby).
    - `reconnect`: reconnect after a lost connection, resend unacknowledged messages, and report it by the
      events `Lost` and `Back` (default False).
    - `resumable`: let the server keep the session while there is no connection (default: as `reconnect`).
    - `resume`: take over the session of another client, from its property `resume` (default None).
    - `timeout`: seconds for connecting, for the handshake and for each answer (default 10).
    - `ping_every`: seconds between pings that feed `samples`; 0 for none (default 30).
    - `backlog`: number of events kept for a slow program; above it the oldest are dropped and an `Overrun`
      reports their number (default 10,000).
    - `program`: name of the program, up to 100 characters, sent to the server (default `chat_client`).
    - `backoff`: waits between attempts to reconnect (default: growing from 0.5 to 30 s, randomised).
    - `state`: folder in which a resumable session is kept while it lasts, so that the next `Client` with this
      user name and these servers resumes it after a crash of the program, or an end without a connection; an
      `Unsaved` event reports a folder that cannot be written (default None: not kept).

    Attributes: `addresses` (from `servers`), `address` (the chosen one), `measured` (results of `measure_all`
    if there are several), `timeout`, `samples` (RTTs: `last_ms`, `min_ms`, `percentile_ms(50)`, `count`).

    Any thread may call any method. Iterate over the events in one thread only; the loop may call methods.
    Raises `ValueError` for an invalid address, or none. Methods that send a command raise `ValueError` for
    text that is not UTF-8 (a lone surrogate), `Refused` if the server rejects it, `TimedOut` without an
    answer, `ConnectionLost` without a connection, and `Ended` after the client has been closed.
    """

    def __init__(
        self,
        username: str,
        servers: str | Address | Sequence[str | Address] = f"127.0.0.1:{DEFAULT_PORT}",
        *,
        rooms: Iterable[str] = (LOBBY,),
        reconnect: bool = False,
        resumable: bool | None = None,
        resume: commands.Resume | None = None,
        timeout: float = 10.0,
        ping_every: float = 30.0,
        backlog: int = 10_000,
        program: str = "chat_client",
        backoff: Backoff | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        self.addresses = as_addresses(servers)
        self.address = self.addresses[0]
        self.measured: list[MeasuredServer] = []
        self.timeout = timeout
        self.samples = RttSamples()
        resumable = reconnect if resumable is None else resumable
        self._session = ClientSession(username, rooms, resumable=resumable, client=program, resume=resume)
        self._pending = PendingCommands()
        self._inbox = Inbox(backlog)
        self._handlers: list[tuple[type[Event], _Handler]] = []
        self._reconnector = Reconnector(
            self._dial,
            self._session,
            self._pending,
            self._inbox,
            self.samples,
            backoff=(backoff or Backoff()) if reconnect else None,
            timeout=timeout,
            ping_every=ping_every,
            keeper=make_keeper(state, self.addresses, self._session, self._inbox),
        )

    # The session.

    def connect(self) -> Welcome:
        """Connect and open the session; return the server's `Welcome`.

        Raises `ConnectionFailed`, `Refused`, or `ConnectionLost` (with `bye`) if the server closes at once.
        """
        welcome = self._reconnector.start()
        try:
            for room in self._session.initial_rooms if welcome.resumed else ():
                if self._session.find_room(room) is None:
                    self.join(room)
        except BaseException:
            self.close()
            raise
        return welcome

    def quit(self, reason: str | None = None, timeout: float | None = None) -> None:
        """End the session after all messages have been acknowledged, then close the client.

        - `reason`: up to 1,000 characters, sent to the server (default None).
        - `timeout`: seconds to wait, also for a reconnect if messages are unacknowledged (default: the
          client's `timeout`). The client is closed then in any case; see `unacknowledged`.
        """
        goodbye = commands.Quit(reason=reason)
        encode_command(goodbye)  # as in `send`
        try:
            self._reconnector.say_goodbye(goodbye, self.timeout if timeout is None else timeout)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection, and end the session even if it is resumable; see `quit` for messages.

        Calls that wait for an answer raise `Ended`. Waits up to a second for the server to confirm the end of
        a resumable session.
        """
        self._reconnector.shut_down(Ended("the client has been closed"))

    def cut(self) -> None:
        """Break the connection as a network failure would; with `reconnect` the client then reconnects."""
        self._reconnector.break_connection()

    def __enter__(self) -> Self:
        """Connect, as `connect` does; return the client."""
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the session, as `quit` does, also after an exception."""
        self.quit()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._reconnector.link is not None

    @property
    def unanswered_s(self) -> float:
        """Seconds since the oldest ping without an answer was sent; 0 if there is none."""
        link = self._reconnector.link
        return 0.0 if link is None else link.unanswered_s()

    @property
    def loss(self) -> ConnectionLost | None:
        """Why there is no connection now; None while there is one."""
        return None if self.connected else self._reconnector.last_loss

    @property
    def username(self) -> str:
        """The current name of the session, as the server shows it."""
        return self._session.username

    @property
    def id(self) -> str:
        """The public id of the session: the `sender` of its messages. Empty before `connect`."""
        return self._session.id

    @property
    def welcome(self) -> Welcome:
        """The `Welcome` of the current or last connection. Raises `ConnectionLost` before `connect`."""
        if self._session.welcome is None:
            raise ConnectionLost("not connected yet")
        return self._session.welcome

    @property
    def resume(self) -> commands.Resume | None:
        """What another `Client(resume=...)` needs to take over this session; None if it is not resumable.

        It contains the session's secret: a program that has it can act as this user.
        """
        return self._session.resume

    @property
    def joined_rooms(self) -> Mapping[str, RoomView]:
        """The joined rooms and open conversations, by folded name (`chat_protocol.names.fold`).

        Each has `room`, `seq` (last received), `count` (members), and `peer` (None for a public room).
        """
        return self._session.rooms

    @property
    def unacknowledged(self) -> list[commands.Message]:
        """The messages sent and not acknowledged as stored, in order; also after the end of the session."""
        return self._pending.unacknowledged()

    # Events.

    def __iter__(self) -> Iterator[Event]:
        """Yield events until `quit` or `close`. Raises `ConnectionLost` if the session is lost."""
        while True:
            try:
                event = self._inbox.get()
            except Ended:
                return
            yield event

    def next_event(self, timeout: float | None = None) -> Event:
        """Return the next event, waiting `timeout` seconds (default None: without limit).

        Raises `TimedOut` after that, and `Ended` or `ConnectionLost` if there will be no more events.
        """
        return self._inbox.get(timeout)

    def on(self, kind: type[EventT], handler: Callable[[EventT], object]) -> None:
        """Register a handler for `run`.

        - `kind`: class of events; `Event` for all.
        - `handler`: called with each event of that class, in the order of registration.
        """

        def call(event: Event) -> None:
            assert isinstance(event, kind)
            handler(event)

        self._handlers.append((kind, call))

    def run(self) -> None:
        """Iterate over the events in this thread, and call the registered handlers for each."""
        for event in self:
            for kind, handler in self._handlers:
                if isinstance(event, kind):
                    handler(event)

    # Messages.

    def send(self, text: str, room: str | None = None, to: str | None = None) -> Pending[MessageEvent]:
        """Send a message without waiting for its acknowledgement; see `Pending.wait`.

        - `text`: 1 to 8,192 bytes of UTF-8, without control characters but line feed and tab.
        - `room`: a joined room (default None: the lobby).
        - `to`: a user, in place of `room`; opens the conversation if necessary (default None).

        While 512 messages are unacknowledged it waits for one of them, and raises `TimedOut` after the
        client's `timeout`. Raises `ValueError` for invalid text. With `reconnect`, messages sent while there
        is no connection wait for the next one.
        """
        if (problem := text_problem(text)) is not None:
            raise ValueError(problem)
        command = commands.Message(message=text, room=room, to=to, ref=self._pending.new_ref())
        encode_command(command)  # raises here, rather than in a thread that sends it
        pending = self._pending.expect_acknowledgement(command, self.timeout)
        self._send_pending(pending)
        return pending

    def say(
        self, text: str, room: str | None = None, to: str | None = None, timeout: float | None = None
    ) -> MessageEvent:
        """Send a message and return it as stored by the server, with its `seq`.

        Parameters and errors are those of `send` and of `Pending.wait`; `timeout` in seconds for the
        acknowledgement (default: the client's `timeout`).
        """
        return self.send(text, room, to).wait(self.timeout if timeout is None else timeout)

    # Rooms and conversations.

    def join(self, room: str) -> Joined:
        """Join a public room; `Joined` has its last seq."""
        return self._ask(commands.Join(room=room), Joined)

    def leave(self, room: str) -> Left:
        """Leave a public room, after the session's own messages in it have been stored."""
        return self._ask(commands.Leave(room=room), Left)

    def open(self, username: str) -> Opened:
        """Open the conversation with a user; its messages are then events of both sides."""
        return self._ask(commands.Open(peer=username), Opened)

    def close_conversation(self, username: str) -> Closed:
        """Close the conversation with a user, for both sides; a new message opens it again."""
        return self._ask(commands.Close(peer=username), Closed)

    # Queries
    def who(self, room: str | None = None) -> list[User]:
        """Return the users in a room, or all connected users (default None), by name."""
        return paging.all_users(self._ask, time.sleep, room)

    def rooms(self) -> list[RoomState]:
        """Return the public rooms that have members or messages, by name."""
        return paging.all_rooms(self._ask, time.sleep)

    def history(
        self, room: str, *, before: int | None = None, after: int | None = None, limit: int | None = 50
    ) -> list[MessageEvent]:
        """Return stored messages of a joined room, ascending: by default the newest.

        - `room`: a joined room or open conversation.
        - `before`: only messages before this seq, the newest of them (default None).
        - `after`: only messages after this seq, the oldest of them (default None).
        - `limit`: number of messages; None for all, with `after` only, else `ValueError` (default 50).
        """
        if after is not None:
            return list(itertools.islice(self.log(room, after), limit))
        if limit is None:
            raise ValueError("history(limit=None) needs `after`")
        return paging.newest_messages(self._ask, time.sleep, room, before, limit)

    def log(self, room: str, after: int = 0) -> Iterator[MessageEvent]:
        """Yield all stored messages of a joined room after a seq (default 0: from the first), ascending.

        They are fetched in pages of 500 while iterating.
        """
        return paging.messages_after(self._ask, time.sleep, room, after)

    def servers(self) -> list[ServerState]:
        """Return the servers of the cluster, including the connected one."""
        return list(self._ask(commands.Servers(), ServerList).servers)

    def rtt(self, username: str | None = None) -> RttReport:
        """Return the round-trip times of a user, measured by the server (default None: of this session)."""
        return self._ask(commands.Rtt(username=username), RttReport)

    def ping(self, timeout: float | None = None) -> float:
        """Measure one round trip to the server; return it in milliseconds and add it to `samples`.

        `timeout` in seconds (default: the client's `timeout`).
        """
        ref = self._pending.new_ref()
        return self._ask(commands.Ping(id=ref, ref=ref), RoundTrip, timeout).ms

    def tcp_ms(self) -> float | None:
        """Return the kernel's smoothed RTT in milliseconds (tcp(7), TCP_INFO); None if not available."""
        link = self._reconnector.link
        return None if link is None else link.tcp_ms()

    def rename(self, username: str) -> None:
        """Change the name of the session; while reconnecting, request it with the next connection."""
        if self._reconnector.reconnecting:
            encode_command(commands.Rename(username=username))  # as in `send`
            self._session.request_name(username)
            return
        self._ask(commands.Rename(username=username), Renamed)

    def _dial(self) -> Link:
        if len(self.addresses) > 1:
            self.measured = measure_all(self.addresses, min(self.timeout, _MEASURE_TIMEOUT_S))
            self.address = choose_server(self.measured).address
        return dial(self.address, self.timeout)

    def _ask(self, command: commands.Command, expects: type[EventT], timeout: float | None = None) -> EventT:
        if command.ref is None:
            command = msgspec.structs.replace(command, ref=self._pending.new_ref())
        encode_command(command)  # as in `send`
        pending = self._pending.expect_answer(command, expects)
        self._send_pending(pending)
        try:
            return pending.wait(self.timeout if timeout is None else timeout)
        except TimedOut:
            self._pending.discard(pending)
            raise

    def _send_pending(self, pending: Pending[EventT]) -> None:
        try:
            self._reconnector.send_or_queue(pending.command)
        except ChatError:
            self._pending.discard(pending)
            raise
