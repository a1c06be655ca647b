"""What the server says, decoded once for all bots of a process.

Knows frames and stamps. Must not know sockets, nor which bot reads.

All members of a room get identical bytes, so what one bot has decoded, the others look up: for a room of
twenty that is one decoding and nineteen dict accesses. The memory for it is bounded; what is forgotten is
decoded again.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from chat_protocol.dialects.ndjson import decode_event
from chat_protocol.events import Event, MessageEvent
from chat_swarm.audit.process_audit import Audit
from chat_swarm.bots import payload

_KEPT_BYTES: Final = 4 * 2**20
_SHARED: Final = (b'{"type":"message"', b'{"type":"presence"')
"""How frames begin that several bots get in the same bytes."""


class Said(NamedTuple):
    """One message; `sent_ns` is 0 if no bot of this run has said it."""

    seq: int
    name: str
    counter: int
    planned_ns: int
    sent_ns: int


class Run:
    """Messages of one room with contiguous seqs, as one read has brought them."""

    __slots__ = ("count", "first", "last", "names", "only", "room", "said")

    def __init__(self, room: str, said: list[Said]) -> None:
        self.room: Final = room
        self.said: Final = said
        self.first: Final = said[0].seq
        self.last: Final = said[-1].seq
        self.count: Final = len(said)
        self.only: Final = said[0] if len(said) == 1 else None
        self.names: Final = frozenset(one.name for one in said if one.sent_ns)
        """Whose messages these are: the bots that find their own echo here."""


class Chunk(NamedTuple):
    """What one read has brought, in order; `run` is set if that is one run and nothing else."""

    run: Run | None
    items: tuple[Run | Event, ...]


class Frames:
    """Decodes for all bots of a process. `run` is the run's id: what others said is not ours to time."""

    def __init__(self, run: str, audit: Audit) -> None:
        self._run: Final = run
        self._audit: Final = audit
        self._kept: dict[bytes, Chunk] = {}
        self._order: deque[bytes] = deque()
        self._kept_bytes = 0
        self.unknown = 0
        """Frames of a type that this version does not know."""

    def read(self, data: bytes) -> Chunk:
        """Return what whole lines say; ValueError if one is not a frame of the protocol."""
        chunk = self._kept.get(data)
        if chunk is None:
            items = tuple(self._runs(data))
            only = items[0] if len(items) == 1 else None
            chunk = Chunk(only if isinstance(only, Run) else None, items)
            if data.startswith(_SHARED):
                self._keep(data, chunk)
        return chunk

    def _keep(self, data: bytes, chunk: Chunk) -> None:
        # One goes for one that comes: to forget all at once takes milliseconds, and so does the garbage
        # collector, which takes the next ten thousand for growth.
        self._kept[data] = chunk
        self._order.append(data)
        self._kept_bytes += len(data)
        while self._kept_bytes > _KEPT_BYTES:
            oldest = self._order.popleft()
            del self._kept[oldest]
            self._kept_bytes -= len(oldest)

    def _runs(self, data: bytes) -> Iterator[Run | Event]:
        """Yield the events, contiguous messages of a room gathered."""
        room = ""
        said: list[Said] = []
        for line in data.splitlines():
            if not line:
                continue
            try:
                event = decode_event(line)
            except msgspec.DecodeError as error:
                raise ValueError(f"not a frame of the protocol: {line[:80]!r} ({error})") from error
            if isinstance(event, MessageEvent) and not event.again:
                one = self._said(event)
                if said and event.room == room and one.seq == said[-1].seq + 1:
                    said.append(one)
                    continue
                if said:
                    yield Run(room, said)
                room, said = event.room, [one]
                continue
            if said:
                yield Run(room, said)
                said = []
            if event is None:
                self.unknown += 1
            else:
                yield event
        if said:
            yield Run(room, said)

    def _said(self, event: MessageEvent) -> Said:
        mark = payload.read(self._run, event.message)
        if mark is None:
            return Said(event.seq, event.username, 0, 0, 0)
        self._audit.shown(event.room, event.seq, event.username, mark.counter)
        return Said(event.seq, event.username, mark.counter, mark.planned_ns, mark.sent_ns)
