"""However the bytes are split on their way, bots get the same decoded items."""

import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import Event, Gap, PongEvent
from chat_swarm.bots import frame_cache
from chat_swarm.bots.connection import BotConnection
from chat_swarm.bots.frame_cache import DecodedRead, FrameCache, MessageRun
from chat_swarm.loop.event_loop import EventLoop
from chat_swarm.loop.rx_timestamps import RxTimestamping
from chat_swarm.model.recorder import Recorder
from support.swarm.engine_harness import RUN_ID, ScriptedServer, message_from, wait_received

STREAM: list[Event] = [
    PongEvent(id=None, timestamp=0.0),
    *(message_from(seq, "ann", seq, 5) for seq in (1, 2, 3)),
    message_from(4, "bob", 1, 5, room="den"),
    message_from(4, "bob", 1, 5, message="just so"),
    Gap(room="hall-0", first=5, last=6),
    message_from(7, "ann", 4, 5),
    message_from(9, "ann", 5, 5),
    message_from(9, "ann", 5, 5, again=True),
]
BYTES = b"".join(map(encode, STREAM)) + b'\n{"type":"something new"}\r\n'


class Plain(NamedTuple):
    room: str
    seq: int
    name: str
    counter: int


def flat(chunks: list[DecodedRead]) -> list[Plain | Event]:
    """Return the items of decoded reads, one by one."""
    found: list[Plain | Event] = []
    for chunk in chunks:
        for item in chunk.items:
            if isinstance(item, MessageRun):
                found += [
                    Plain(item.room, message.seq, message.sender, message.counter)
                    for message in item.messages
                ]
            else:
                found.append(item)
    return found


class DecodingOwner:
    """A connection owner that only decodes."""

    def __init__(self) -> None:
        self.frames = FrameCache(RUN_ID)
        self.chunks: list[DecodedRead] = []
        self.is_up = False
        self.ends: list[str] = []

    def on_connected(self) -> None:
        self.is_up = True

    def on_lines(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        assert data.endswith(b"\n")
        self.chunks.append(self.frames.decode(data))
        assert received_ns <= seen_ns or not exact

    def on_writable(self) -> None:
        pass

    def on_lost(self, reason: str) -> None:
        self.ends.append(reason)


class ConnectionPipe:
    """A bot's connection, and the server's end of it."""

    def __init__(self) -> None:
        self.stamping = RxTimestamping()  # as in a bot process: the kernel is slow to turn it on
        self.loop = EventLoop(lambda _: None, self._fail)
        self.owner = DecodingOwner()
        self.connection = BotConnection(self.owner, self.loop, Recorder())
        self.server = ScriptedServer()
        self.connection.connect(("127.0.0.1", self.server.port), None)
        self.loop.run_for(20, lambda: self.owner.is_up)
        self.end = self.server._listening.accept()[0]

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.end.sendall(piece)
            self.loop.run_once(1.0)

    def close(self) -> None:
        self.connection.close()
        self.stamping.close()
        self.loop.close()
        self.end.close()
        self.server.close()

    @staticmethod
    def _fail(error: Exception) -> None:
        raise error


@pytest.fixture
def pipe() -> Iterator[ConnectionPipe]:
    one = ConnectionPipe()
    yield one
    one.close()


def whole() -> list[Plain | Event]:
    return flat([FrameCache(RUN_ID).decode(BYTES)])


def test_decode_returns_all_items_in_order() -> None:
    items = whole()
    assert len(items) == len(STREAM)
    assert items[0] == STREAM[0]
    assert items[1] == Plain("hall-0", 1, "ann", 1)
    assert items[5] == Plain("hall-0", 4, "bob", 0)
    assert items[6] == STREAM[6]
    assert items[-1] == STREAM[-1]


def test_decode_groups_contiguous_messages_of_a_room() -> None:
    chunk = FrameCache(RUN_ID).decode(BYTES)
    runs = [(run.room, run.first, run.last) for run in chunk.items if isinstance(run, MessageRun)]
    assert runs == [("hall-0", 1, 3), ("den", 4, 4), ("hall-0", 4, 4), ("hall-0", 7, 7), ("hall-0", 9, 9)]
    assert chunk.only_message_run is None
    alone = FrameCache(RUN_ID).decode(encode(STREAM[1]))
    assert alone.only_message_run is not None
    assert alone.only_message_run.single == alone.only_message_run.messages[0]


def test_connection_fed_byte_by_byte_delivers_the_same_items(pipe: ConnectionPipe) -> None:
    pipe.feed(*(BYTES[place : place + 1] for place in range(len(BYTES))))
    pipe.loop.run_for(20, lambda: len(flat(pipe.owner.chunks)) == len(STREAM))
    assert flat(pipe.owner.chunks) == whole()


def test_connection_fed_in_any_pieces_delivers_the_same_items(pipe: ConnectionPipe) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, len(BYTES)), max_size=6), st.integers(1, 30))
    def cut(places: list[int], tail: int) -> None:
        del pipe.owner.chunks[:]
        edges = [0, *sorted(places), len(BYTES)]
        pieces = [BYTES[one:other] for one, other in itertools.pairwise(edges) if one < other]
        rest = BYTES[: min(tail, len(BYTES))]  # the start of the next round
        pipe.feed(*pieces[:-1], pieces[-1] + rest)
        pipe.loop.run_for(20, lambda: len(flat(pipe.owner.chunks)) == len(STREAM))
        assert flat(pipe.owner.chunks) == whole()
        pipe.feed(BYTES[len(rest) :])
        pipe.loop.run_for(20, lambda: len(flat(pipe.owner.chunks)) == 2 * len(STREAM))
        assert flat(pipe.owner.chunks) == whole() * 2

    cut()
    assert pipe.owner.frames.unknown_frames >= 2


def test_connection_end_is_reported_once(pipe: ConnectionPipe) -> None:
    pipe.end.sendall(BYTES + b"{")
    pipe.end.close()
    pipe.loop.run_for(20, lambda: bool(pipe.owner.ends))
    pipe.connection.send(b"more")
    pipe.loop.run_once()
    assert pipe.owner.ends == ["EOF"]
    assert flat(pipe.owner.chunks) == whole()
    assert not [fd for fd in pipe.loop.handlers if fd != pipe.connection.fd]


@pytest.mark.parametrize(
    "line",
    [b"no json", b'{"type":"message"}', b'{"type":"welcome","protocol":"x"}', b"[1]", b"\xff", b"[" * 2000],
)
def test_decode_malformed_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame of the protocol"):
        FrameCache(RUN_ID).decode(encode(STREAM[0]) + line + b"\n")


def test_decode_looks_up_identical_reads_in_a_bounded_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = FrameCache(RUN_ID)
    data = [encode(message_from(seq, "ann", seq, 5)) for seq in range(1, 50)]
    first = [decoder.decode(one) for one in data]
    assert all(decoder.decode(one) is chunk for one, chunk in zip(data, first, strict=True))
    # And the cache is bounded
    monkeypatch.setattr(frame_cache, "_CACHE_BYTES", 1000)
    decoder = FrameCache(RUN_ID)
    for number, one in enumerate(data * 2):
        decoder.decode(one)
        kept = sum(map(len, decoder._cached))
        assert kept <= 1000
        # And it keeps the latest reads, evicting no more than necessary
        assert kept > 1000 - 2 * len(one) or number < 1000 // len(one)
        assert list(decoder._cached)[-1] == one


def test_connection_passes_the_kernels_receive_time(pipe: ConnectionPipe) -> None:
    stamps: list[tuple[int, int]] = []
    read = pipe.owner.on_lines

    def note(data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        stamps.append((received_ns, seen_ns))
        read(data, received_ns, seen_ns, exact)

    pipe.owner.on_lines = note  # type: ignore[method-assign]
    before = time.time_ns()
    pipe.end.sendall(BYTES)
    wait_received(pipe.end)
    after = time.time_ns()
    time.sleep(0.05)
    pipe.loop.run_once()
    [(received, seen)] = stamps
    assert before <= received <= after
    assert seen >= received + 50_000_000
