"""Resuming, for any interleaving of lost connections, slow readers and restarts.

Each client keeps what a real one keeps: its position in each room, its secret, and its unacknowledged
messages. A cut loses any part of the bytes in flight. An audit reads the frames as such a client would: each
message of a room arrives once, in order, without a gap, over all connections of a session; each message sent
is stored once, and acknowledged or refused.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat_protocol import commands
from chat_server.core.delivery import backfill, room
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.kinds import open_sqlite
from support.fakes.model_client import ROOMS, ModelClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.core_stage.stage import Stage

NAMES = ("ann", "bob", "cid")

people = st.sampled_from([0, 1, 2])
pairs = st.sampled_from([(0, 1), (1, 0), (2, 0)])
rooms = st.sampled_from(ROOMS)
fractions = st.floats(0, 1)
says = st.tuples(st.just("say"), people, rooms)
directs = st.tuples(st.just("direct"), pairs)
steps = st.one_of(
    says,
    says,
    says,
    directs,
    directs,
    st.tuples(st.just("open"), pairs),
    st.tuples(st.just("close"), pairs),
    st.tuples(st.just("join"), people, rooms),
    st.tuples(st.just("leave"), people, rooms),
    says,
    says,
    says,
    st.tuples(st.just("stop"), people),
    st.tuples(st.just("stop"), people),
    st.tuples(st.just("stop"), people),
    st.tuples(st.just("sip"), people),
    st.tuples(st.just("sip"), people),
    st.tuples(st.just("drain"), people),
    st.tuples(st.just("cut"), people, fractions),
    st.tuples(st.just("cut"), people, fractions),
    st.tuples(st.just("come"), people, st.booleans()),
    st.tuples(st.just("come"), people, st.booleans()),
    st.just(("commit",)),
    st.just(("commit",)),
    st.just(("commit",)),
    st.just(("commit",)),
    st.just(("feed",)),
    st.just(("feed",)),
    st.just(("meanwhile",)),
    st.just(("failing",)),
    st.just(("failing_append",)),
    st.just(("healing",)),
)
plays = st.lists(steps, min_size=10, max_size=80)
fates = st.lists(  # of one conversation, and of a side that is cut all the time and receives little
    st.sampled_from(
        [
            *[("cut", 0, 1.0), ("cut", 0, 1.0), ("cut", 0, 0.5), ("stop", 0), ("drain", 0), ("sip", 0)],
            *[("come", 0, True), ("come", 0, True), ("come", 0, False)],
            *[("direct", (1, 0)), ("direct", (1, 0)), ("direct", (0, 1)), ("open", (1, 0))],
            *[("close", (1, 0)), ("close", (1, 0)), ("commit",), ("commit",), ("commit",)],
            *[("feed",), ("feed",), ("meanwhile",), ("failing",), ("failing_append",), ("healing",)],
        ]
    ),
    min_size=6,
    max_size=30,
)
with_restarts = st.lists(
    st.one_of(steps, steps, steps, steps, steps, steps, st.tuples(st.just("restart"), fractions)),
    min_size=10,
    max_size=60,
)


class Play:
    """Performs steps, and audits after each."""

    def __init__(self, stage: Stage, reopen: Callable[[], Stage] | None = None) -> None:
        self.stage = stage
        self.reopen = reopen
        self.lines: dict[tuple[str, int], set[bytes]] = defaultdict(set)
        self.clients = [ModelClient(name, self.lines) for name in NAMES]
        self.stored: list[tuple[str, str | None]] = []
        self.busy: set[int] = set()
        self.later = False
        self.refs = 0
        self.sent: list[tuple[ModelClient, str]] = []
        self.reopening: set[tuple[str, str]] = set()  # clients and conversations, see `restart`
        for user in range(len(NAMES)):
            self.do_come(user)

    def run(self, play: list[tuple[Any, ...]]) -> None:
        with patch.object(backfill, "CHUNK_MESSAGES", 2), patch.object(room, "TAIL_MESSAGES", 1):
            self._run(play)
        self.sum_up()

    def _run(self, play: list[tuple[Any, ...]]) -> None:
        for step in play:
            if step[0] == "meanwhile":
                self.later = True
            elif self.later and step[0] != "restart":
                self.later = False
                self.stage.during_wait.append(lambda step=step: self.step(step))  # type: ignore[misc]
            else:
                self.step(step)
        self.stage.during_wait.clear()
        self.healing()
        self.settle()

    def settle(self) -> None:
        """Let all clients reconnect, read everything, and get their messages acknowledged."""
        for _ in range(3):
            for user in range(len(NAMES)):
                self.do_come(user)
                self.do_drain(user)
            self.stage.commit()
            self.stage.run_backfill()
            self.stage.commit()
            self.stage.run_backfill()
            self.look()

    def step(self, step: tuple[Any, ...]) -> None:
        word, *rest = step
        if word == "restart":
            self.restart(*rest)
        elif not rest:
            getattr(self, word)()
        else:
            user = rest[0] if isinstance(rest[0], int) else rest[0][0]
            if user in self.busy:  # one command of a session at a time
                return
            self.busy.add(user)
            getattr(self, "do_" + word)(*rest)
            self.busy.discard(user)
        self.look()

    def look(self) -> None:
        for client in self.clients:
            if client.peer is not None:
                client.read()

    def sum_up(self) -> None:
        self.stage.check()
        self.note()
        assert len(self.stored) == len(set(self.stored))
        ids = {client.id: client for client in self.clients}
        for author, ref in self.stored:
            assert ref in ids[author].acknowledged
        for client, ref in self.sent:
            assert ref in client.acknowledged or ref in client.refused
            assert (ref in client.acknowledged) == ((client.id, ref) in self.stored)
        assert all(len(lines) == 1 for lines in self.lines.values())
        for client in self.clients:
            assert not client.unacknowledged
            assert client.peer is not None
            session = client.peer.session
            assert session.lagging is None
            assert client.positions == {
                each.room.name: each.room.head for each in session.memberships.values()
            }
            for pair in session.identity.conversations or ():
                conversation = self.stage.hub.conversations.by_pair[pair].room
                if conversation.head:
                    seen = client.seen[conversation.name]
                    if (client.id, conversation.name) in self.reopening:
                        seen = sorted(set(seen))
                    assert seen == list(range(1, conversation.head + 1)), conversation.name

    def note(self) -> None:
        """Record what this run of the server has stored."""
        self.stored += [(draft.author.id, draft.ref) for draft in self.stage.stored]
        self.stage.stored.clear()

    # Steps of one person

    def send(self, user: int, room: str | None, to: str | None) -> None:
        client = self.clients[user]
        if client.peer is None:
            return
        self.refs += 1
        ref = f"r{self.refs}"
        command = commands.Message(message=f"text {ref} " + "x" * 80, room=room, to=to, ref=ref)
        client.unacknowledged[ref] = command
        self.sent.append((client, ref))
        client.peer.execute(command)

    def do_say(self, user: int, room: str) -> None:
        self.send(user, room, None)

    def do_direct(self, pair: tuple[int, int]) -> None:
        self.send(pair[0], None, NAMES[pair[1]])

    def do_join(self, user: int, room: str) -> None:
        self.does(user, commands.Join(room=room))

    def do_leave(self, user: int, room: str) -> None:
        self.does_after_all(user, commands.Leave, room=room)

    def do_open(self, pair: tuple[int, int]) -> None:
        self.does(pair[0], commands.Open(peer=NAMES[pair[1]]))

    def do_close(self, pair: tuple[int, int]) -> None:
        self.does_after_all(pair[0], commands.Close, peer=NAMES[pair[1]])

    def does_after_all(self, user: int, kind: type[commands.Command], **fields: str) -> None:
        """Send a command whose answer comes after the acknowledgements of all earlier messages."""
        client = self.clients[user]
        self.refs += 1
        ref = f"c{self.refs}"
        client.before[ref] = set(client.unacknowledged)
        self.does(user, kind(ref=ref, **fields))

    def does(self, user: int, command: commands.Command) -> None:
        """Send a command, unless the server does not read: its answers would wait for the peer."""
        peer = self.clients[user].peer
        if peer is not None and not peer.outbox.queued_bytes:
            peer.execute(command)

    def do_stop(self, user: int) -> None:
        peer = self.clients[user].peer
        if peer is not None:
            peer.outbox.peer_stopped = True

    def do_sip(self, user: int) -> None:
        """Read what has arrived, and nothing more."""
        peer = self.clients[user].peer
        if peer is not None:
            peer.outbox.drain()

    def do_drain(self, user: int) -> None:
        peer = self.clients[user].peer
        if peer is not None:
            peer.outbox.peer_stopped = False
            peer.outbox.drain()

    def do_cut(self, user: int, lost: float) -> None:
        client = self.clients[user]
        peer = client.peer
        if peer is not None:
            client.read(lost)
            client.peer = None
            peer.outbox.closed = True
            peer.disconnect()

    def do_come(self, user: int, deaf: bool = False) -> None:
        """Reconnect; a connection that still exists is given up without a word.

        A `deaf` client reads nothing yet: the first events that it is sent may all be lost.
        """
        client = self.clients[user]
        if client.peer is not None:
            if client.session and user % 2:
                client.read(0.5)
            else:
                return
        peer = self.stage.connect()
        client.attach(peer)
        peer.outbox.peer_stopped = deaf and bool(client.session)
        peer.execute(client.hello())
        client.read()
        if not peer.id:  # the store failed: once more
            client.peer = None
            return
        for command in list(client.unacknowledged.values()):
            peer.execute(command)

    # Steps of the server

    def failing(self) -> None:
        if hasattr(self.stage.store, "failing"):
            self.stage.store.failing = "no room on the disk"

    def failing_append(self) -> None:
        if hasattr(self.stage.store, "failing"):
            self.stage.store.append_failing = "no room on the disk"

    def healing(self) -> None:
        if hasattr(self.stage.store, "failing"):
            self.stage.store.failing = self.stage.store.append_failing = None

    def commit(self) -> None:
        again = self.stage.committer.commit()
        if again is not None:
            self.stage.clock.advance(again)

    def feed(self) -> None:
        self.stage.run_backfill()

    def restart(self, lost: float) -> None:
        """Stop the server with all that is not stored, and start another one.

        Only a conversation that was opened and closed in the last second may be announced twice: whether its
        closing has arrived is not stored yet. And after a restart both sides of a conversation get it from
        one seq: the one that has closed it, and opens it again unseen, gets what an absent side lacks.
        """
        assert self.reopen is not None
        if self.stage.hub.closings._unconfirmed:
            self.healing()
            self.stage.hub.closings.tick()
            self.stage.commit()
            self.look()
        for client in self.clients:
            if client.peer is not None:
                session = client.peer.session
                client.read(lost)
                client.peer = None
                self.reopening |= {
                    (client.id, one.room.name)
                    for one in session.memberships.values()
                    if one.room.name not in client.positions and client.seen.get(one.room.name)
                }
        self.stage.during_wait.clear()
        self.note()
        self.stage = self.reopen()


@settings(max_examples=400, deadline=None)
@given(play=plays)
def test_resume_after_any_disconnects_loses_and_repeats_nothing(
    make_stage: type[Stage], play: list[Any]
) -> None:
    Play(make_stage(patience_s=0.05)).run(play)


@settings(max_examples=400, deadline=None)
@given(play=fates)
def test_conversation_with_one_side_failing_stays_consistent(
    make_stage: type[Stage], play: list[Any]
) -> None:
    Play(make_stage(patience_s=0.05)).run(play)


CUT_BEFORE_THE_CLOSING_IS_SEEN_TO_ARRIVE = [
    *([("say", 0, "lobby")] * 4),
    ("direct", (1, 0)),
    ("close", (1, 0)),
    *([("say", 0, "lobby")] * 2),
    ("cut", 0, 0.0),
    ("restart", 0.0),
]
"""All has arrived when the connection is lost, and no tick has looked at that yet."""


OPENED_AGAIN_WHILE_THE_OTHER_IS_AWAY = [
    ("say", 0, "lobby"),
    ("cut", 0, 0.0),
    ("direct", (1, 0)),
    ("close", (1, 0)),
    ("direct", (1, 0)),
    ("stop", 1),
    ("commit",),
    ("restart", 0.0),
]
"""The one that has closed has not seen yet that it is open again, and the other has nothing of it."""


@settings(max_examples=60, deadline=None)
@example(play=OPENED_AGAIN_WHILE_THE_OTHER_IS_AWAY)
@example(play=CUT_BEFORE_THE_CLOSING_IS_SEEN_TO_ARRIVE)
@given(play=with_restarts)
def test_resume_after_any_restarts_loses_and_repeats_nothing(
    make_stage: type[Stage], play: list[Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        stores: list[SqliteEngine] = []

        def reopen() -> Stage:
            if stores:
                stores.pop().close()
            stores.append(open_sqlite(path))
            return make_stage(store=stores[-1], patience_s=0.05)

        try:
            Play(reopen(), reopen).run(play)
        finally:
            with closing(stores.pop()):
                pass
