"""Cache of decoded reads, shared by all bots of a process.

All members of a room get identical bytes, so one bot decodes a read and the others look it up: one decoding
and nineteen dict accesses for a room of twenty. The cache is bounded; an evicted read is decoded again.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from chat_protocol.dialects.ndjson import decode_event
from chat_protocol.events import Event, MessageEvent
from chat_swarm.audit.process_audit import ProcessAudit
from chat_swarm.bots import payload

_CACHE_BYTES: Final = 4 * 2**20
_SHARED_PREFIXES: Final = (b'{"type":"message"', b'{"type":"presence"')
"""Prefixes of frames that several bots get as identical bytes."""


class ReceivedMessage(NamedTuple):
    """One received message; `sent_ns` is 0 if no bot of this run sent it."""

    seq: int
    sender: str
    counter: int
    planned_ns: int
    sent_ns: int


class MessageRun:
    """Messages of one room with contiguous seqs, from one read."""

    __slots__ = ("count", "first", "last", "messages", "room", "senders", "single")

    def __init__(self, room: str, messages: list[ReceivedMessage]) -> None:
        self.room: Final = room
        self.messages: Final = messages
        self.first: Final = messages[0].seq
        self.last: Final = messages[-1].seq
        self.count: Final = len(messages)
        self.single: Final = messages[0] if len(messages) == 1 else None
        self.senders: Final = frozenset(one.sender for one in messages if one.sent_ns)
        """Bots of this run with messages in here: they find their own echo."""


class DecodedRead(NamedTuple):
    """The contents of one read, in order; `only_message_run` is set if they are one run of messages."""

    only_message_run: MessageRun | None
    items: tuple[MessageRun | Event, ...]


class FrameCache:
    """Decoder with a cache. Messages without the header of `run_id` are not timed (`sent_ns` 0)."""

    def __init__(self, run_id: str, audit: ProcessAudit) -> None:
        self._run_id: Final = run_id
        self._audit: Final = audit
        self._cached: dict[bytes, DecodedRead] = {}
        self._order: deque[bytes] = deque()
        self._cached_bytes = 0
        self.unknown_frames = 0
        """Number of frames of an unknown type."""

    def decode(self, data: bytes) -> DecodedRead:
        """Decode whole lines. Raises ValueError if one is not a frame of the protocol."""
        decoded = self._cached.get(data)
        if decoded is None:
            items = tuple(self._decode_items(data))
            only = items[0] if len(items) == 1 else None
            decoded = DecodedRead(only if isinstance(only, MessageRun) else None, items)
            if data.startswith(_SHARED_PREFIXES):
                self._add_to_cache(data, decoded)
        return decoded

    def _add_to_cache(self, data: bytes, decoded: DecodedRead) -> None:
        # Evict one by one, oldest first: to clear the cache at once would take milliseconds, and so would the
        # garbage collection that the next ten thousand allocations trigger.
        self._cached[data] = decoded
        self._order.append(data)
        self._cached_bytes += len(data)
        while self._cached_bytes > _CACHE_BYTES:
            oldest = self._order.popleft()
            del self._cached[oldest]
            self._cached_bytes -= len(oldest)

    def _decode_items(self, data: bytes) -> Iterator[MessageRun | Event]:
        """Yield the events, with contiguous messages of a room grouped."""
        room = ""
        contiguous: list[ReceivedMessage] = []
        for line in data.splitlines():
            if not line:
                continue
            try:
                event = decode_event(line)
            except msgspec.DecodeError as error:
                raise ValueError(f"not a frame of the protocol: {line[:80]!r} ({error})") from error
            if isinstance(event, MessageEvent) and not event.again:
                one = self._received_message(event)
                if contiguous and event.room == room and one.seq == contiguous[-1].seq + 1:
                    contiguous.append(one)
                    continue
                if contiguous:
                    yield MessageRun(room, contiguous)
                room, contiguous = event.room, [one]
                continue
            if contiguous:
                yield MessageRun(room, contiguous)
                contiguous = []
            if event is None:
                self.unknown_frames += 1
            else:
                yield event
        if contiguous:
            yield MessageRun(room, contiguous)

    def _received_message(self, event: MessageEvent) -> ReceivedMessage:
        header = payload.parse_header(self._run_id, event.message)
        if header is None:
            return ReceivedMessage(event.seq, event.username, 0, 0, 0)
        self._audit.observe_message(event.room, event.seq, event.username, header.counter)
        return ReceivedMessage(event.seq, event.username, header.counter, header.planned_ns, header.sent_ns)
