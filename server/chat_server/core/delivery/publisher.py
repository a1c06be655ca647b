"""The publisher: turns what a commit has stored into events and delivers them, room by room.

Barriers are reached here: they mean "delivered", not "committed". Each room gets its messages in the order of
their seqs. MUST NOT switch greenlets: heads, members and outboxes change together.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Final

from msgspec import structs

from chat_protocol.events import MessageEvent
from chat_server.core.base.interval_stats import IntervalStats, RoomStats, microseconds
from chat_server.core.delivery.batch import Barrier, Batch, QueuedMessage, QueuedOpening
from chat_server.core.delivery.observer import Observers
from chat_server.core.delivery.room import Room, Session
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.link import FanOut

AUTHORS_AT_ONCE: Final = 16
"""Authors of a batch that get their messages before the other members of a large room."""


class Publisher:
    """Delivers committed batches."""

    def __init__(
        self,
        clock: Clock,
        stats: Callable[[], IntervalStats],
        *,
        observers: Observers,
        on_opening_done: Callable[[QueuedOpening], None],
        reopen: Callable[[Room, Session], None],
        fan_out: FanOut,
    ) -> None:
        self._clock = clock
        self._stats = stats
        self._on_opening_done = on_opening_done
        self._reopen = reopen
        self._observers = observers
        self._fan_out = fan_out

    def deliver(self, batch: Batch, timestamp: float, committed: float) -> None:
        """Deliver a batch that was committed at `committed` (monotonic seconds).

        `timestamp`: of its messages, in seconds since the epoch.
        """
        stats = self._stats()
        messages = batch.messages
        if messages:
            stats.commits += 1
            stats.messages += len(messages)
        if batch.interleaved is None:
            self._publish(messages, timestamp, committed, stats)
            return
        published = 0
        for index, item in batch.interleaved:
            self._publish(messages[published:index], timestamp, committed, stats)
            published = index
            self._finish(item)
        self._publish(messages[published:], timestamp, committed, stats)

    def reject(self, interleaved: Iterable[Barrier | QueuedOpening]) -> None:
        """Report that barriers and openings have failed to the sessions that wait for them."""
        for item in interleaved:
            item.failed = True
            self._finish(item)

    def _finish(self, item: Barrier | QueuedOpening) -> None:
        """Reach a barrier, or finish an opening."""
        if isinstance(item, Barrier):
            item.signal.set()
            return
        try:
            self._on_opening_done(item)
        except Exception as error:  # noqa: BLE001  a bug in one conversation must not stop the others
            self._observers.delivery_failed(error)

    def _publish(
        self, messages: list[QueuedMessage], timestamp: float, committed: float, stats: IntervalStats
    ) -> None:
        by_room: dict[Room, list[MessageEvent]] = {}
        repeated: list[QueuedMessage] = []
        commit_tally = stats.accept_to_commit
        rooms = stats.rooms
        last_room: Room | None = None
        events: list[MessageEvent] = []
        room_stats: RoomStats | None = None
        for message in messages:
            author = message.author
            room = message.room
            author.pending -= 1
            if author.lagging is not None:
                membership = room.membership_of(author)
                if membership is not None and membership.cursor is not None:
                    membership.cursor.own_seq = message.seq
            ref = message.ref
            refs = author.refs
            if ref is not None and refs is not None:
                key = message.ref_key
                if key in refs:  # else newer refs have evicted it
                    refs[key] = message.stored_at
                if message.repeats:
                    repeated.append(message)
            if room is not last_room:
                last_room = room
                events = by_room.setdefault(room, [])
                room_stats = rooms.get(room.name)
            events.append(
                MessageEvent(  # `message_event`, inlined: this saves a call per message
                    room=room.name,
                    seq=message.seq,
                    sender=author.id,
                    username=message.username,
                    message=message.text,
                    timestamp=timestamp,
                    origin=author.origin,
                    ref=ref,
                )
            )
            took_us = microseconds(committed - message.accepted_at)
            commit_tally[took_us] = commit_tally.get(took_us, 0) + 1
            if room_stats is not None and room_stats.accept_to_commit is not None:
                room_stats.accept_to_commit[took_us] = room_stats.accept_to_commit.get(took_us, 0) + 1
        clock, fan_out = self._clock.monotonic, self._fan_out
        deferred_before = fan_out.deferred
        sent_tally = stats.commit_to_sent
        for room, events in by_room.items():
            try:
                if not room.members and room.pair is not None:
                    senders = dict.fromkeys(message.author for message in messages if message.room is room)
                    self._reopen_for_late_messages(room, events, senders)
                deferred = fan_out.deferred
                deliveries, sent = room.publish(events)
            except Exception as error:  # noqa: BLE001  a bug in one room must not stop the others
                self._observers.delivery_failed(error)
                continue
            stats.deliveries += deliveries
            stats.bytes_out += sent
            room_stats = rooms.get(room.name) or stats.room_stats(room.name)
            room_stats.messages += len(events)
            room_stats.deliveries += deliveries
            if fan_out.deferred != deferred:
                fan_out.when_sent(partial(self._record_sent, room.name, committed))
                continue
            took_us = microseconds(clock() - committed)
            sent_tally[took_us] = sent_tally.get(took_us, 0) + 1
            if room_stats.commit_to_sent is not None:
                room_stats.commit_to_sent[took_us] = room_stats.commit_to_sent.get(took_us, 0) + 1
        if fan_out.deferred != deferred_before:  # for an author, its message is the acknowledgement
            for author in islice({message.author: None for message in messages}, AUTHORS_AT_ONCE):
                author.outbox.send_deferred()
        if messages and self._observers.want_messages:
            self._observers.messages_stored(messages)
        for message in repeated:
            for _ in range(message.repeats):
                message.author.send_if_open(as_repeated(message_event(message, timestamp)))

    def _record_sent(self, room: str, committed: float) -> None:
        """Record that a batch of a room, committed at `committed`, has been sent to its last member."""
        stats = self._stats()
        took_us = microseconds(self._clock.monotonic() - committed)
        stats.commit_to_sent[took_us] = stats.commit_to_sent.get(took_us, 0) + 1
        tally = stats.room_stats(room).commit_to_sent
        if tally is not None:
            tally[took_us] = tally.get(took_us, 0) + 1

    def _reopen_for_late_messages(
        self, room: Room, events: list[MessageEvent], senders: Iterable[Session]
    ) -> None:
        """Reopen a conversation that was closed while a message for it was queued.

        If the other side has left for good, only the senders get their messages, as acknowledgement.
        """
        for author in senders:
            if not room.members:
                self._reopen(room, author)
        if not room.members:
            for author in senders:
                for event in events:
                    if event.sender == author.id:
                        author.send_if_open(event)


def as_repeated(event: MessageEvent) -> MessageEvent:
    """Return the event as the answer to a message that was sent twice."""
    return structs.replace(event, again=True)


def message_event(message: QueuedMessage, timestamp: float) -> MessageEvent:
    """Return the event of a stored message.

    `timestamp`: of its commit, in seconds since the epoch.
    """
    author = message.author
    return MessageEvent(
        room=message.room.name,
        seq=message.seq,
        sender=author.id,
        username=message.username,
        message=message.text,
        timestamp=timestamp,
        origin=author.origin,
        ref=message.ref,
    )
