"""Ingest: the bounded queue in front of the log; commits batches, then delivers them.

Batches need no timer: messages that arrive during a commit form the next batch. Nothing is delivered before
it is stored. After a commit each room gets its messages in the order of their seqs.

`submit` and `_deliver` MUST NOT switch greenlets. `commit` may wait in `Store.append`, and MUST run in one
greenlet only.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import structs

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, MessageEvent
from chat_server.core.base.interval_stats import IntervalStats, microseconds
from chat_server.core.delivery.batch import Barrier, Batch, QueuedMessage, QueuedOpening
from chat_server.core.delivery.room import Room
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.link import Signal
from chat_server.core.ports.records import (
    ConversationState,
    IdentityRecord,
    RegistryChanges,
    RoomRecord,
    SessionRecord,
)
from chat_server.core.ports.store import Store, StoreUnavailable
from chat_server.core.sessions.session import Session

APPEND_RETRY_INTERVAL_S: Final = 0.05
"""Seconds between two attempts to write to a store that fails."""

STORE_UNAVAILABLE_TEXT: Final = "message store unavailable; retry with the same ref"

_MESSAGE_OVERHEAD_BYTES: Final = 200  # memory of a queued message besides its text


class Ingest:
    """Queues messages, openings and barriers in order; passes batches to the store, then to rooms."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        stats: Callable[[], IntervalStats],
        *,
        max_bytes: int,
        patience_s: float,
        wake: Callable[[], None],
        on_opening_done: Callable[[QueuedOpening], None],
        reopen: Callable[[Room, Session], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._stats = stats
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._wake = wake
        self._on_opening_done = on_opening_done
        self._reopen = reopen
        self._collecting = Batch()
        self._committing: Batch | None = None
        self._failing_since: float | None = None
        self._commit_requested = False
        self._space_signals: list[Signal] = []
        self.last_error: str | None = None
        self.refused_messages = 0  # since the start, after the store had failed for `patience_s`
        self.on_stored: Callable[[list[QueuedMessage]], None] | None = None

    @property
    def queued_bytes(self) -> int:
        """Memory of the messages that are not committed yet, in bytes."""
        return self._collecting.size_bytes + (self._committing.size_bytes if self._committing else 0)

    @property
    def full(self) -> bool:
        """Return whether readers must wait (`notify_when_space`) before they submit more."""
        return self.queued_bytes > self._max_bytes

    @property
    def idle(self) -> bool:
        """Return whether no session waits for a commit (registry changes may, after a failure)."""
        return self._committing is None and not self._collecting.messages and not self._collecting.interleaved

    def notify_when_space(self, signal: Signal) -> None:
        """Set `signal` when the queue has space again."""
        self._space_signals.append(signal)

    def submit(self, message: QueuedMessage) -> None:
        """Queue a message, and the registry changes that must be stored before it."""
        author = message.author
        batch = self._collecting
        if not author.identity_stored:
            self._queue_identity(author)
        if not message.room.record.id:
            self._queue_room(message.room.record)
        author.pending += 1
        if message.ref is not None:
            author.remember_ref(message.ref, message)
        batch.messages.append(message)
        batch.size_bytes += len(message.text) + _MESSAGE_OVERHEAD_BYTES
        if not self._commit_requested:  # `_request_commit`, inlined: this saves a call per message
            self._commit_requested = True
            self._wake()

    def open_conversation(self, opening: QueuedOpening) -> None:
        """Queue an opening of a conversation; messages submitted later come after it."""
        for session in (opening.opener, opening.peer):
            if not session.identity_stored:
                self._queue_identity(session)
        self._queue_room(opening.room.record)
        self._interleave(opening)

    def save_session(self, record: SessionRecord, identity: IdentityRecord, signal: Signal) -> Barrier:
        """Queue a session to be stored; returns a barrier behind it."""
        changes = self._registry_changes()
        changes.identities.append(identity)
        changes.sessions.append(record)
        return self.add_barrier(signal)

    def rename_session(self, record: SessionRecord, signal: Signal) -> Barrier:
        """Queue the new name of a resumable session; returns a barrier behind it."""
        self._registry_changes().renamed_sessions.append(record)
        return self.add_barrier(signal)

    def forget_session(self, session_id: str) -> None:
        """Queue the deletion of a session that can no longer be resumed."""
        self._registry_changes().ended_sessions.append(session_id)
        self._request_commit()

    def save_conversation_state(self, state: ConversationState) -> None:
        """Queue a conversation's state; it is stored after what was queued before."""
        self._registry_changes().conversation_states.append(state)
        self._request_commit()

    def add_barrier(self, signal: Signal) -> Barrier:
        """Return a barrier that sets `signal` when all that is queued now is delivered or rejected."""
        barrier = Barrier(signal)
        self._interleave(barrier)
        return barrier

    def commit(self) -> float | None:
        """Commit and deliver the queue. Return the seconds until a retry is due, None if none is.

        After a failure an empty queue is committed as well, as a probe: so `last_error` is cleared even if
        nobody sends a message. May wait.
        """
        self._commit_requested = False
        if self._committing is None:
            self._committing, self._collecting = self._collecting, Batch()
        batch = self._committing
        batch.timestamp = round(self._clock.time(), 6)
        try:
            trial = self.last_error is not None and batch.interleaved is None
            if batch.messages or batch.registry_changes is not None or trial:
                self._store.append(batch)
                self._failing_since = None  # only a successful write proves that the store works again
                self.last_error = None
        except StoreUnavailable as error:
            return self._on_append_failed(str(error))
        except Exception:
            self._refuse_all()  # a bug; a batch that cannot be stored must not block those behind it
            raise
        committed = self._clock.monotonic()
        self._committing = None
        try:
            self._deliver(batch, committed)
        except Exception:
            for _, item in batch.interleaved or ():  # a bug; but nobody may wait for ever
                if isinstance(item, Barrier):
                    item.failed = True
                    item.signal.set()
            raise
        if self._space_signals and not self.full:
            self._signal_space()
        return None

    def _interleave(self, item: QueuedOpening | Barrier) -> None:
        batch = self._collecting
        if batch.interleaved is None:
            batch.interleaved = []
        batch.interleaved.append((len(batch.messages), item))
        self._request_commit()

    def _request_commit(self) -> None:
        if not self._commit_requested:
            self._commit_requested = True
            self._wake()

    def _queue_room(self, record: RoomRecord) -> None:
        if not record.id and not record.queued:
            record.queued = True
            self._registry_changes().rooms.append(record)

    def _queue_identity(self, session: Session) -> None:
        session.identity_stored = True
        self._registry_changes().identities.append(IdentityRecord(session.identity, session.name))

    def _registry_changes(self) -> RegistryChanges:
        batch = self._collecting
        if batch.registry_changes is None:
            batch.registry_changes = RegistryChanges()
        return batch.registry_changes

    def _on_append_failed(self, error: str) -> float | None:
        """Schedule a retry, or reject everything once the store has failed for `patience_s`."""
        now = self._clock.monotonic()
        self.last_error = error
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since < self._patience_s:
            return APPEND_RETRY_INTERVAL_S
        self._refuse_all()
        return None

    def _refuse_all(self) -> None:
        """Reject the batch being committed, and the next one, which may depend on its registry changes."""
        committing, collecting = self._committing, self._collecting
        self._committing, self._collecting = None, Batch()
        for batch in (committing, collecting):
            if batch is not None:
                self._refuse_batch(batch)
        self._signal_space()

    def _signal_space(self) -> None:
        """Wake the readers that wait for space in the queue."""
        signals, self._space_signals = self._space_signals, []
        for signal in signals:
            signal.set()

    def _refuse_batch(self, batch: Batch) -> None:
        """Answer the senders that nothing of the batch is stored, and undo what assumed that it would be."""
        self._stats().errors[ErrorCode.UNAVAILABLE] += len(batch.messages)
        self.refused_messages += len(batch.messages)
        changes = batch.registry_changes or RegistryChanges()
        self._carry_over(changes)
        for record in changes.rooms:
            record.queued = False
        identity_ids = {identity.id for identity in changes.identities}
        for message in batch.messages:
            author = message.author
            author.pending -= 1
            if author.identity in identity_ids:
                author.identity_stored = False
            if message.ref is not None:
                author.forget_ref(message.ref)
            author.send_if_open(
                Error(code=ErrorCode.UNAVAILABLE, message=STORE_UNAVAILABLE_TEXT, ref=message.ref)
            )
        for _, item in batch.interleaved or ():
            if isinstance(item, Barrier):
                item.failed = True
                item.signal.set()
                continue
            for session in (item.opener, item.peer):
                if session.identity in identity_ids:
                    session.identity_stored = False
            item.failed = True
            self._on_opening_done(item)

    def _carry_over(self, changes: RegistryChanges) -> None:
        """Move changes to the next batch that no session waits for and that remain valid."""
        states = [
            state
            for state in changes.conversation_states
            if state.room.id and (state.since is None or state.closed_by)
        ]
        if changes.renamed_sessions or changes.ended_sessions or states:
            next_changes = self._registry_changes()
            next_changes.renamed_sessions.extend(changes.renamed_sessions)
            next_changes.ended_sessions.extend(changes.ended_sessions)
            next_changes.conversation_states.extend(states)

    def _deliver(self, batch: Batch, committed: float) -> None:
        stats = self._stats()
        messages = batch.messages
        if messages:
            stats.commits += 1
            stats.messages += len(messages)
        if batch.interleaved is None:
            self._publish(messages, batch.timestamp, committed, stats)
            return
        published = 0
        for index, item in batch.interleaved:
            self._publish(messages[published:index], batch.timestamp, committed, stats)
            published = index
            if isinstance(item, Barrier):
                item.signal.set()
            else:
                self._on_opening_done(item)
        self._publish(messages[published:], batch.timestamp, committed, stats)

    def _publish(
        self, messages: list[QueuedMessage], timestamp: float, committed: float, stats: IntervalStats
    ) -> None:
        by_room: dict[Room, list[MessageEvent]] = {}
        repeated: list[QueuedMessage] = []
        commit_tally = stats.accept_to_commit
        rooms = stats.rooms
        for message in messages:
            author = message.author
            room = message.room
            author.pending -= 1
            if author.lagging is not None:
                cursor = author.lagging.cursors.get(room)
                if cursor is not None:
                    cursor.own_seq = message.seq
            ref = message.ref
            refs = author.refs
            if ref is not None and refs is not None:
                if ref in refs:  # else newer refs have evicted it
                    refs[ref] = message.id
                if message.repeats:
                    repeated.append(message)
            event = message_event(message, timestamp)
            events = by_room.get(room)
            if events is None:
                by_room[room] = [event]
            else:
                events.append(event)
            took_us = microseconds(committed - message.accepted_at)
            commit_tally[took_us] = commit_tally.get(took_us, 0) + 1
            room_stats = rooms.get(room.name)
            if room_stats is not None and room_stats.accept_to_commit is not None:
                room_stats.accept_to_commit[took_us] = room_stats.accept_to_commit.get(took_us, 0) + 1
        clock = self._clock.monotonic
        sent_tally = stats.commit_to_sent
        for room, events in by_room.items():
            if not room.members and room.record.pair is not None:
                senders = dict.fromkeys(message.author for message in messages if message.room is room)
                self._reopen_for_late_messages(room, events, senders)
            deliveries, sent = room.publish(events)
            stats.deliveries += deliveries
            stats.bytes_out += sent
            took_us = microseconds(clock() - committed)
            sent_tally[took_us] = sent_tally.get(took_us, 0) + 1
            room_stats = stats.room_stats(room.name)
            room_stats.messages += len(events)
            room_stats.deliveries += deliveries
            if room_stats.commit_to_sent is not None:
                room_stats.commit_to_sent[took_us] = room_stats.commit_to_sent.get(took_us, 0) + 1
        if self.on_stored is not None:
            self.on_stored(messages)
        for message in repeated:
            for _ in range(message.repeats):
                message.author.send_if_open(as_repeated(message_event(message, timestamp)))

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
    """Return the event of a stored message; the name of its room is the stored one.

    `timestamp`: of its commit, in seconds since the epoch.
    """
    author = message.author
    return MessageEvent(
        room=message.room.record.name,
        seq=message.seq,
        sender=author.id,
        username=message.username,
        message=message.text,
        timestamp=timestamp,
        origin=author.origin,
        ref=message.ref,
    )
