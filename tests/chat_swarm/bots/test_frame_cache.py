"""However the bytes are cut on their way, the bots are told the same."""

import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import Event, Gap, PongEvent
from chat_swarm.audit.process_audit import Audit
from chat_swarm.bots import frame_cache
from chat_swarm.bots.connection import Wire
from chat_swarm.bots.frame_cache import Chunk, Frames, Run
from chat_swarm.loop.event_loop import Reactor
from chat_swarm.model.recorder import Recorder
from support.swarm.engine_harness import RUN, ServerEnd, spoken

STREAM: list[Event] = [
    PongEvent(id=None, timestamp=0.0),
    *(spoken(seq, "ann", seq, 5) for seq in (1, 2, 3)),
    spoken(4, "bob", 1, 5, room="den"),
    spoken(4, "bob", 1, 5, message="just so"),
    Gap(room="hall-0", first=5, last=6),
    spoken(7, "ann", 4, 5),
    spoken(9, "ann", 5, 5),
    spoken(9, "ann", 5, 5, again=True),
]
BYTES = b"".join(map(encode, STREAM)) + b'\n{"type":"something new"}\r\n'


class Plain(NamedTuple):
    room: str
    seq: int
    name: str
    counter: int


def flat(chunks: list[Chunk]) -> list[Plain | Event]:
    """Return what chunks say, one by one."""
    found: list[Plain | Event] = []
    for chunk in chunks:
        for item in chunk.items:
            if isinstance(item, Run):
                found += [Plain(item.room, said.seq, said.name, said.counter) for said in item.said]
            else:
                found.append(item)
    return found


class Reader:
    """An owner of a wire that only decodes."""

    def __init__(self) -> None:
        self.frames = Frames(RUN, Audit())
        self.chunks: list[Chunk] = []
        self.is_up = False
        self.ends: list[str] = []

    def connected(self) -> None:
        self.is_up = True

    def read(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        assert data.endswith(b"\n")
        self.chunks.append(self.frames.read(data))
        assert received_ns <= seen_ns or not exact

    def writable(self) -> None:
        pass

    def lost(self, reason: str) -> None:
        self.ends.append(reason)


class Pipe:
    """A wire, and the server's end of it."""

    def __init__(self) -> None:
        self.reactor = Reactor(lambda _: None, self._fail)
        self.owner = Reader()
        self.wire = Wire(self.owner, self.reactor, Recorder())
        self.server = ServerEnd()
        self.wire.connect(("127.0.0.1", self.server.port), None)
        self.reactor.run(20, lambda: self.owner.is_up)
        self.end = self.server._listening.accept()[0]

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.end.sendall(piece)
            self.reactor.turn(1.0)

    def close(self) -> None:
        self.wire.close()
        self.reactor.close()
        self.end.close()
        self.server.close()

    @staticmethod
    def _fail(error: Exception) -> None:
        raise error


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    one = Pipe()
    yield one
    one.close()


def whole() -> list[Plain | Event]:
    return flat([Frames(RUN, Audit()).read(BYTES)])


def test_all_is_told_in_order() -> None:
    told = whole()
    assert len(told) == len(STREAM)
    assert told[0] == STREAM[0]
    assert told[1] == Plain("hall-0", 1, "ann", 1)
    assert told[5] == Plain("hall-0", 4, "bob", 0)
    assert told[6] == STREAM[6]
    assert told[-1] == STREAM[-1]


def test_what_follows_in_a_room_is_one_run() -> None:
    chunk = Frames(RUN, Audit()).read(BYTES)
    runs = [(run.room, run.first, run.last) for run in chunk.items if isinstance(run, Run)]
    assert runs == [("hall-0", 1, 3), ("den", 4, 4), ("hall-0", 4, 4), ("hall-0", 7, 7), ("hall-0", 9, 9)]
    assert chunk.run is None
    alone = Frames(RUN, Audit()).read(encode(STREAM[1]))
    assert alone.run is not None
    assert alone.run.only == alone.run.said[0]


def test_byte_by_byte(pipe: Pipe) -> None:
    pipe.feed(*(BYTES[place : place + 1] for place in range(len(BYTES))))
    pipe.reactor.run(20, lambda: len(flat(pipe.owner.chunks)) == len(STREAM))
    assert flat(pipe.owner.chunks) == whole()


def test_cut_anywhere(pipe: Pipe) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, len(BYTES)), max_size=6), st.integers(1, 30))
    def cut(places: list[int], tail: int) -> None:
        del pipe.owner.chunks[:]
        edges = [0, *sorted(places), len(BYTES)]
        pieces = [BYTES[one:other] for one, other in itertools.pairwise(edges) if one < other]
        rest = BYTES[: min(tail, len(BYTES))]  # the beginning of what comes next
        pipe.feed(*pieces[:-1], pieces[-1] + rest)
        pipe.reactor.run(20, lambda: len(flat(pipe.owner.chunks)) == len(STREAM))
        assert flat(pipe.owner.chunks) == whole()
        pipe.feed(BYTES[len(rest) :])
        pipe.reactor.run(20, lambda: len(flat(pipe.owner.chunks)) == 2 * len(STREAM))
        assert flat(pipe.owner.chunks) == whole() * 2

    cut()
    assert pipe.owner.frames.unknown >= 2


def test_the_end_is_told_once_and_nothing_after_it(pipe: Pipe) -> None:
    pipe.end.sendall(BYTES + b"{")
    pipe.end.close()
    pipe.reactor.run(20, lambda: bool(pipe.owner.ends))
    pipe.wire.send(b"more")
    pipe.reactor.turn()
    assert pipe.owner.ends == ["EOF"]
    assert flat(pipe.owner.chunks) == whole()
    assert not [fd for fd in pipe.reactor.handlers if fd != pipe.wire.fd]


@pytest.mark.parametrize(
    "line",
    [b"no json", b'{"type":"message"}', b'{"type":"welcome","protocol":"x"}', b"[1]", b"\xff", b"[" * 2000],
)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame of the protocol"):
        Frames(RUN, Audit()).read(encode(STREAM[0]) + line + b"\n")


def test_all_bots_look_up_what_one_has_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Frames(RUN, Audit())
    data = [encode(spoken(seq, "ann", seq, 5)) for seq in range(1, 50)]
    first = [decoder.read(one) for one in data]
    assert all(decoder.read(one) is chunk for one, chunk in zip(data, first, strict=True))
    # And what is kept has an end
    monkeypatch.setattr(frame_cache, "_KEPT_BYTES", 1000)
    decoder = Frames(RUN, Audit())
    for number, one in enumerate(data * 2):
        decoder.read(one)
        kept = sum(map(len, decoder._kept))
        assert kept <= 1000
        # And what is kept is the latest, of which no more goes than must
        assert kept > 1000 - 2 * len(one) or number < 1000 // len(one)
        assert list(decoder._kept)[-1] == one


def test_the_kernels_stamp_is_when_it_came(pipe: Pipe) -> None:
    stamps: list[tuple[int, int]] = []
    read = pipe.owner.read

    def note(data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        stamps.append((received_ns, seen_ns))
        read(data, received_ns, seen_ns, exact)

    pipe.owner.read = note  # type: ignore[method-assign]
    before = time.time_ns()
    pipe.end.sendall(BYTES)
    after = time.time_ns()
    time.sleep(0.05)
    pipe.reactor.turn()
    [(received, seen)] = stamps
    assert before <= received <= after
    assert seen >= received + 50_000_000
