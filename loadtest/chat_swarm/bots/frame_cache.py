"""Cache of decoded reads, shared by all bots of a process.

All members of a room get identical bytes, so one bot decodes a read and the others look it up: one decoding
and nineteen dict accesses for a room of twenty. A bot that lags reads several lines at once, cut differently
from the others': then the single lines are looked up. Both caches are bounded; what is evicted is decoded
again.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from chat_protocol.dialects.ndjson import decode_event
from chat_protocol.events import Event, MessageEvent
from chat_swarm.audit.digest import are_different, digest_of
from chat_swarm.bots import payload

_CACHE_BYTES: Final = 4 * 2**20
_SHARED_PREFIXES: Final = (b'{"type":"message"', b'{"type":"presence"')
"""Prefixes of frames that several bots get as identical bytes."""


class ReceivedMessage(NamedTuple):
    """One received message; `counter` and the times are 0 if no bot of this run sent it."""

    seq: int
    sender: str
    counter: int
    planned_ns: int
    sent_ns: int
    event: MessageEvent
    digest: int
    """Of all its contents: see audit/digest.py."""
    line: bytes = b""
    """The frame; empty if only its fields are known."""


def received_message(run_id: str, event: MessageEvent, line: bytes = b"") -> ReceivedMessage:
    """Return a message event as the bots of this run need it."""
    counter, planned_ns, sent_ns = payload.parse_header(run_id, event.message) or payload.NO_HEADER
    digest = digest_of(event, line)
    return ReceivedMessage(event.seq, event.username, counter, planned_ns, sent_ns, event, digest, line)


class MessageRun:
    """Messages of one room with contiguous seqs, from one read."""

    __slots__ = ("count", "first", "last", "messages", "room", "senders", "single", "uncompared")

    def __init__(self, room: str, messages: list[ReceivedMessage]) -> None:
        self.room: Final = room
        self.messages: Final = messages
        self.first: Final = messages[0].seq
        self.last: Final = messages[-1].seq
        self.count: Final = len(messages)
        self.single: Final = messages[0] if len(messages) == 1 else None
        self.senders: Final = frozenset(one.sender for one in messages)
        """Usernames of the senders: they find their own echo."""
        self.uncompared = True
        """Whether its receivers must call `ProcessAudit.compare`: no receiver has yet, or others were shown
        something else."""


class DecodedRead(NamedTuple):
    """The contents of one read, in order; `only_message_run` is set if they are one run of messages."""

    only_message_run: MessageRun | None
    items: tuple[MessageRun | Event, ...]


class FrameCache:
    """Decoder with a cache. Messages without the header of `run_id` are not timed (`sent_ns` 0)."""

    def __init__(self, run_id: str) -> None:
        self._run_id: Final = run_id
        self._cached: dict[bytes, DecodedRead] = {}
        self._order: deque[bytes] = deque()
        self._lines: dict[bytes, ReceivedMessage] = {}  # the messages of the last lines
        self._line_order: deque[bytes] = deque()
        self._line_bytes = 0
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
            item = self._lines.get(line) or self._decode_line(line)
            if isinstance(item, ReceivedMessage):
                if contiguous and item.event.room == room and item.seq == contiguous[-1].seq + 1:
                    contiguous.append(item)
                    continue
                if contiguous:
                    yield MessageRun(room, contiguous)
                room, contiguous = item.event.room, [item]
                continue
            if contiguous:
                yield MessageRun(room, contiguous)
                contiguous = []
            if item is None:
                self.unknown_frames += 1
            else:
                yield item
        if contiguous:
            yield MessageRun(room, contiguous)

    def _decode_line(self, line: bytes) -> ReceivedMessage | Event | None:
        """Return a line's message or event; a message is cached, for bots that read it beside other lines."""
        try:
            event = decode_event(line)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a frame of the protocol: {line[:80]!r} ({error})") from error
        if not isinstance(event, MessageEvent) or event.again:
            return event
        message = self._lines[line] = received_message(self._run_id, event, line)
        self._line_order.append(line)
        self._line_bytes += len(line)
        while self._line_bytes > _CACHE_BYTES:
            oldest = self._line_order.popleft()
            del self._lines[oldest]
            self._line_bytes -= len(oldest)
        return message

    def find_line(self, room: str, seq: int, digest: int) -> bytes:
        """Return the frame with this room, seq and digest; b"" if it was not decoded lately. Slow."""
        for line, one in self._lines.items():
            if one.seq == seq and one.event.room == room and not are_different(one.digest, digest):
                return line
        return b""
