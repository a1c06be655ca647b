"""Ordering, for any interleaving: members get each message once, in order, without a gap, in equal bytes.

Each accepted message is acknowledged or refused. An audit reads the frames as a client would, after every
step.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol import commands
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_protocol.dialects.two_field import TWO_FIELD
from chat_server.core.delivery.publisher import message_event
from support.engines.kinds import open_sqlite

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

PEOPLE = 3
ROOMS = ("lobby", "Garden")
NAMES = ("ann", "bob", "cid", "dot", "eve")

people = st.sampled_from(
    [0, 1, 0, 1, 2]
)  # two are busy with each other: it is between them that things go wrong
pairs = st.sampled_from([(0, 1), (1, 0), (0, 1), (1, 0), (2, 0)])
rooms = st.sampled_from(ROOMS)
says = st.tuples(st.just("say"), people, rooms)
directs = st.tuples(st.just("direct"), pairs)
opens = st.tuples(st.just("open"), pairs)
closes = st.tuples(st.just("close"), pairs)
commits = st.just(("commit",))
meanwhiles = st.just(("meanwhile",))
steps = st.one_of(
    says,
    says,
    directs,
    directs,
    opens,
    opens,
    closes,
    closes,
    commits,
    commits,
    meanwhiles,
    meanwhiles,
    st.just(("failing",)),
    st.just(("failing_append",)),
    st.just(("healing",)),
    st.tuples(st.just("reply"), people),
    st.tuples(st.just("again"), people),
    st.tuples(st.just("join"), people, rooms),
    st.tuples(st.just("leave"), people, rooms),
    st.tuples(st.just("rename"), people, st.sampled_from(NAMES)),
    st.tuples(st.just("cut"), people),
)
plays = st.lists(steps, min_size=10, max_size=60)


class Audit:
    """Reads one client's frames, and checks what the protocol promises."""

    def __init__(self, peer: Peer, lines: dict[tuple[str, int], set[bytes]]) -> None:
        self.peer = peer
        self.lines = lines  # (room, seq) -> the bytes in which anybody got it
        self.positions: dict[str, int] = {}  # room -> seq
        self.acknowledged: list[str] = []
        self.refused: set[str] = set()
        self._read = 0

    def read(self) -> None:
        data = self.peer.outbox.data
        for line in data[self._read :].splitlines(keepends=True):
            self._frame(line, json.loads(line))
        self._read = len(data)

    def _frame(self, line: bytes, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                self.positions = {room["room"]: room["seq"] for room in frame["rooms"]}
            case "joined" | "opened":
                room, seq = frame["room"], frame["seq"]
                assert self.positions.setdefault(room, seq) == seq
            case "left" | "closed":
                del self.positions[frame["room"]]
            case "message" if "again" not in frame:
                room, seq = frame["room"], frame["seq"]
                mine = frame["from"] == self.peer.id
                if room in self.positions or not mine:  # else an acknowledgement only
                    assert seq == self.positions[room] + 1
                    self.positions[room] = seq
                if mine:
                    self.acknowledged.append(frame["ref"])
                self.lines[room, seq].add(line)
            case "error" if "ref" in frame:
                self.refused.add(frame["ref"])


class Play:
    """Performs steps, and audits after each."""

    def __init__(
        self,
        stage: Stage,
        fail: Callable[[], None],
        heal: Callable[[], None],
        fail_append: Callable[[], None],
    ) -> None:
        self.stage = stage
        self.fail = fail
        self.fail_append = fail_append
        self.heal = heal
        self.lines: dict[tuple[str, int], set[bytes]] = defaultdict(set)
        self.watchers = [stage.enter("simple", encoding=TWO_FIELD), stage.enter("text", encoding=PLAIN_TEXT)]
        self.connected = [self.enter(name) for name in NAMES[:PEOPLE]]
        self.audits = list(self.connected)
        self.busy: set[int] = set()
        self.later = False
        self.refs = 0
        self.sent: list[tuple[Audit, str]] = []

    def enter(self, name: str) -> Audit:
        return Audit(self.stage.enter(name, *ROOMS), self.lines)

    def run(self, play: list[tuple[Any, ...]]) -> None:
        for step in play:
            if step[0] == "meanwhile":
                self.later = True
            elif self.later:
                self.later = False
                self.stage.during_wait.append(lambda step=step: self.step(step))  # type: ignore[misc]
            else:
                self.step(step)
        self.stage.during_wait.clear()
        self.heal()
        self.stage.commit()
        self.look()
        self.stage.check()
        self.sum_up()

    def step(self, step: tuple[Any, ...]) -> None:
        word, *rest = step
        if not rest:
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
        """No client lacks anything that has been delivered: its positions are the heads of its rooms."""
        for audit in self.audits:
            audit.read()
        for audit in self.connected:
            if not audit.peer.session.closed:
                joined = [each.room for each in audit.peer.session.memberships.values()]
                heads = {room.name: room.head for room in joined}
                assert audit.positions == heads

    def sum_up(self) -> None:
        stored = [(draft.author.id, draft.ref) for draft in self.stage.stored]
        assert len(stored) == len(set(stored))
        acknowledged = [(audit.peer.id, ref) for audit in self.audits for ref in audit.acknowledged]
        assert sorted(acknowledged) == sorted(stored)  # each once; and nothing is shown that is not stored
        for audit, ref in self.sent:
            assert ref in audit.acknowledged or ref in audit.refused
        events = defaultdict(list)
        for draft in self.stage.stored:
            event = message_event(draft, 0.0)
            events[event.room].append(event)
        for room, said in events.items():
            assert [event.seq for event in said] == list(range(1, len(said) + 1)), room
            for event in said:
                (line,) = self.lines[room, event.seq]
                assert json.loads(line)["message"] == event.message
        for watcher in self.watchers:
            of_people = [line for line in watcher.lines if b"server" not in line and line[:1] != b"*"]
            encoding = watcher.session.encoding
            expected = [self.shown(encoding.encode(event)) for event in events["lobby"]]
            assert [self.shown(line) for line in of_people] == expected

    @staticmethod
    def shown(line: bytes) -> bytes:
        """The line without its time, which the store alone knows."""
        return line.partition(b',"timestamp"')[0].partition(b"] ")[2] or line.partition(b',"timestamp"')[0]

    # Steps of one person

    def send(self, user: int, room: str | None, to: str | None) -> None:
        self.refs += 1
        audit = self.connected[user]
        ref = f"r{self.refs}"
        self.sent.append((audit, ref))
        audit.peer.send_message(f"text {ref}", room, to=to, ref=ref)

    def do_say(self, user: int, room: str) -> None:
        self.send(user, room, None)

    def do_direct(self, pair: tuple[int, int]) -> None:
        self.send(pair[0], None, self.connected[pair[1]].peer.name)

    def do_reply(self, user: int) -> None:
        """Send a message to a conversation by its name, open or closed."""
        conversations = self.stage.hub.conversations
        for pair in self.connected[user].peer.session.identity.conversations or ():
            room = conversations.by_pair[pair].room
            if room.key in conversations.by_name:
                self.send(user, room.name, None)
                return

    def do_again(self, user: int) -> None:
        mine = [ref for audit, ref in self.sent if audit is self.connected[user]]
        if mine:
            self.connected[user].peer.send_message("not this", ROOMS[0], ref=mine[-1])

    def do_join(self, user: int, room: str) -> None:
        self.connected[user].peer.execute(commands.Join(room=room))

    def do_leave(self, user: int, room: str) -> None:
        self.connected[user].peer.execute(commands.Leave(room=room))

    def do_open(self, pair: tuple[int, int]) -> None:
        self.connected[pair[0]].peer.execute(commands.Open(peer=self.connected[pair[1]].peer.name))

    def do_close(self, pair: tuple[int, int]) -> None:
        self.connected[pair[0]].peer.execute(commands.Close(peer=self.connected[pair[1]].peer.name))

    def do_rename(self, user: int, name: str) -> None:
        self.connected[user].peer.execute(commands.Rename(username=name))

    def do_cut(self, user: int) -> None:
        audit = self.connected[user]
        audit.peer.disconnect()
        audit.read()
        taken = self.stage.hub.directory
        self.connected[user] = self.enter(next(name for name in NAMES if name not in taken))
        self.audits.append(self.connected[user])

    # Steps of the server

    def failing(self) -> None:
        self.fail()

    def failing_append(self) -> None:
        self.fail_append()

    def healing(self) -> None:
        self.heal()

    def commit(self) -> None:
        again = self.stage.committer.commit()
        if again is not None:
            self.stage.clock.advance(again)


@settings(max_examples=300, deadline=None)
@given(play=plays)
def test_any_interleaving_keeps_order_and_acknowledgements(make_stage: type[Stage], play: list[Any]) -> None:
    stage = make_stage(patience_s=0.05)

    def fail() -> None:
        stage.store.failing = "no room on the disk"

    def heal() -> None:
        stage.store.failing = stage.store.append_failing = None

    def fail_append() -> None:
        stage.store.append_failing = "no room on the disk"

    Play(stage, fail, heal, fail_append).run(play)


@settings(max_examples=40, deadline=None)
@given(play=plays)
def test_any_interleaving_over_the_log_on_disk(make_stage: type[Stage], play: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        store = open_sqlite(path)
        with closing(store), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:

            def fail() -> None:
                if not other.in_transaction:
                    other.execute("BEGIN IMMEDIATE")

            def heal() -> None:
                if other.in_transaction:
                    other.execute("ROLLBACK")
                store._connection.execute("DROP TRIGGER IF EXISTS refuse")

            def fail_append() -> None:
                store._connection.execute(
                    "CREATE TEMP TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON main.log "
                    "BEGIN SELECT RAISE(ABORT, 'refused'); END"
                )

            stage = make_stage(store=store, patience_s=0.05)
            Play(stage, fail, heal, fail_append).run(play)
            for room in stage.hub.rooms.values():
                kept = store.read(room.id, room.name, 0, 10**6, 10**6, newest=False)
                assert [event.seq for event in kept] == list(range(1, room.head + 1))
