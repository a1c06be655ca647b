"""The library: a chat session as an object.

Knows what a program may ask and say. Connections are kept by connection/reconnect.py, answers awaited in
connection/pending.py, state lives in connection/session.py. Blocking sockets and threads only, so it works as
it is in programs patched by gevent.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from chat_client.address import Address, parse_address
from chat_client.base import paging
from chat_client.base.backoff import Backoff
from chat_client.base.rtt_samples import RttSamples
from chat_client.connection.inbox import Inbox
from chat_client.connection.link import Link, dial
from chat_client.connection.pending import Pending, PendingCommands
from chat_client.connection.reconnect import Reconnector
from chat_client.connection.session import ClientSession, RoomView
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
_MEASURE_TIMEOUT_S = 3.0  # seconds for measuring several servers: a slower one is not the quickest
_Handler = Callable[[Event], object]


class Client:
    """A session with a chat server: `with Client("ann") as client: client.say("hi")`.

    `servers` is an address, or several of which the quickest is taken. `timeout` (seconds) is for connecting,
    greeting and each answer. With `reconnect` a lost connection comes back by itself, what was not
    acknowledged is sent again, and `Back` says when all that was missed has come. `resumable` (default: as
    `reconnect`) asks the server to keep the session for that; `resume`, which another client's `resume` gave,
    goes on with that one's session. `ping_every` (seconds, 0: never) feeds `samples`. `backlog` is how many
    events wait for a slow program before the oldest give way to an `Overrun`.

    Any thread may call any method. Iterate in one thread; calling methods from inside the loop is fine.
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
    ) -> None:
        several = [servers] if isinstance(servers, (str, Address)) else list(servers)
        self.addresses = [parse_address(one) if isinstance(one, str) else one for one in several]
        if not self.addresses:
            raise ValueError("a client needs the address of a server")
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
        )

    # The session.

    def connect(self) -> Welcome:
        """Connect and say hello; raise ConnectionFailed, ConnectionLost (with `bye`) or Refused."""
        return self._reconnector.start()

    def quit(self, reason: str | None = None, timeout: float | None = None) -> None:
        """Say good-bye and wait up to `timeout` seconds until all that was said before is acknowledged.

        While a lost connection is being brought back, that is waited for if something is not acknowledged.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while link := self._reconnector.wait_for_link(deadline if self._waits_for_reconnect else 0.0):
            try:
                self._reconnector.send_or_queue(commands.Quit(reason=reason))
            except ChatError:
                continue  # the connection went first
            self._reconnector.wait_for_link_end(link, deadline)
            if time.monotonic() >= deadline:
                break
        self.close()

    def close(self) -> None:
        """End it at once; whatever waits for an answer gets Ended. A resumable session is given up."""
        self._reconnector.shut_down(Ended("the client has been closed"))

    def cut(self) -> None:
        """Break the connection as a failing network would; with `reconnect` it comes back."""
        self._reconnector.break_connection()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quit()

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._reconnector.link is not None

    @property
    def loss(self) -> ConnectionLost | None:
        """Why there is no connection at this moment; None while there is one."""
        return None if self.connected else self._reconnector.last_loss

    @property
    def username(self) -> str:
        """Our name, as the server shows it."""
        return self._session.username

    @property
    def id(self) -> str:
        """The public id of the session: the `sender` of our own messages."""
        return self._session.id

    @property
    def welcome(self) -> Welcome:
        """What the server said first; ConnectionLost before that."""
        if self._session.welcome is None:
            raise ConnectionLost("not connected yet")
        return self._session.welcome

    @property
    def resume(self) -> commands.Resume | None:
        """What another `Client(resume=...)` needs to take over this session; None if it is not resumable.

        It holds the session's secret: whoever has it is this user.
        """
        return self._session.resume

    @property
    def joined_rooms(self) -> Mapping[str, RoomView]:
        """The rooms and conversations we are in, by folded name (`chat_protocol.names.fold`)."""
        return self._session.rooms

    @property
    def unacknowledged(self) -> list[commands.Message]:
        """What was said and is not known to be stored, in its order."""
        return self._pending.unacknowledged()

    # Events.

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they come, until quit() or close(); raise ConnectionLost if the session is lost."""
        while True:
            try:
                event = self._inbox.get()
            except Ended:
                return
            yield event

    def next_event(self, timeout: float | None = None) -> Event:
        """Return the next event; TimedOut after `timeout` seconds, Ended or ConnectionLost at the end."""
        return self._inbox.get(timeout)

    def on(self, kind: type[EventT], handler: Callable[[EventT], object]) -> None:
        """Let `run` call `handler` for each event of a class (`Event`: for all)."""

        def call(event: Event) -> None:
            assert isinstance(event, kind)
            handler(event)

        self._handlers.append((kind, call))

    def run(self) -> None:
        """Call the handlers, in this thread, until the end."""
        for event in self:
            for kind, handler in self._handlers:
                if isinstance(event, kind):
                    handler(event)

    # Saying things.

    def send(self, text: str, room: str | None = None, to: str | None = None) -> Pending[MessageEvent]:
        """Say `text` in a room (default: the lobby) or `to` one user; return at once.

        While 512 are under way it waits for one to be acknowledged, then raises TimedOut. ValueError is for
        what can be no message: empty, over 8,192 bytes, control characters.
        """
        if (problem := text_problem(text)) is not None:
            raise ValueError(problem)
        command = commands.Message(message=text, room=room, to=to, ref=self._pending.new_ref())
        pending = self._pending.expect_acknowledgement(command, self.timeout)
        self._send_pending(pending)
        return pending

    def say(
        self, text: str, room: str | None = None, to: str | None = None, timeout: float | None = None
    ) -> MessageEvent:
        """Say `text` and return it as the server has stored it; errors as for `send` and Pending.wait."""
        return self.send(text, room, to).wait(self.timeout if timeout is None else timeout)

    # Rooms and conversations.

    def join(self, room: str) -> Joined:
        """Enter a room."""
        return self._ask(commands.Join(room=room), Joined)

    def leave(self, room: str) -> Left:
        """Leave a room, once our own messages in it are stored."""
        return self._ask(commands.Leave(room=room), Left)

    def open(self, username: str) -> Opened:
        """Open the conversation with a user."""
        return self._ask(commands.Open(peer=username), Opened)

    def close_conversation(self, username: str) -> Closed:
        """Close the conversation with a user; a new message opens it again."""
        return self._ask(commands.Close(peer=username), Closed)

    # Questions.

    def who(self, room: str | None = None) -> list[User]:
        """Return the users in a room, or everyone connected."""
        return paging.all_users(self._ask, room)

    def rooms(self) -> list[RoomState]:
        """Return the public rooms that have members or messages."""
        return paging.all_rooms(self._ask)

    def history(
        self, room: str, *, before: int | None = None, after: int | None = None, limit: int | None = 50
    ) -> list[MessageEvent]:
        """Return messages of a room we are in, ascending: the newest, those before, or those after a seq.

        `limit` may be any number; None, with `after`, means all there are.
        """
        if after is not None:
            return list(itertools.islice(self.log(room, after), limit))
        if limit is None:
            raise ValueError("history without a limit needs `after`")
        return paging.newest_messages(self._ask, room, before, limit)

    def log(self, room: str, after: int = 0) -> Iterator[MessageEvent]:
        """Yield a room's messages after a seq, ascending, up to the newest; a page at a time."""
        return paging.messages_after(self._ask, room, after)

    def servers(self) -> list[ServerState]:
        """Return the servers that the server knows of, itself among them."""
        return list(self._ask(commands.Servers(), ServerList).servers)

    def rtt(self, username: str | None = None) -> RttReport:
        """Return what the server has measured of a user's connection, our own by default."""
        return self._ask(commands.Rtt(username=username), RttReport)

    def ping(self, timeout: float | None = None) -> float:
        """Return one round trip to the server in milliseconds, measured here and kept in `samples`."""
        ref = self._pending.new_ref()
        return self._ask(commands.Ping(id=ref, ref=ref), RoundTrip, timeout).ms

    def tcp_ms(self) -> float | None:
        """Return the kernel's own smoothed round trip, without the programs at both ends; None if untold."""
        link = self._reconnector.link
        return None if link is None else link.tcp_ms()

    def rename(self, username: str) -> None:
        """Take another name; while a lost connection is being brought back, ask for this one then."""
        if self._reconnector.reconnecting:
            self._session.request_name(username)
            return
        self._ask(commands.Rename(username=username), Renamed)

    @property
    def _waits_for_reconnect(self) -> bool:
        return self._reconnector.reconnecting and bool(self.unacknowledged)

    def _dial(self) -> Link:
        if len(self.addresses) > 1:
            self.measured = measure_all(self.addresses, min(self.timeout, _MEASURE_TIMEOUT_S))
            self.address = choose_server(self.measured).address
        return dial(self.address, self.timeout)

    def _ask(self, command: commands.Command, expects: type[EventT], timeout: float | None = None) -> EventT:
        if command.ref is None:
            command = msgspec.structs.replace(command, ref=self._pending.new_ref())
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
