"""The way into the log: a bounded queue, and one writer that takes all there is.

Coalescing needs no timer: what arrives while a commit runs is the next batch. After the commit each room gets
its part of the batch in the order of the seqs. Commit, then deliver: nobody sees what is not stored.

`submit` and `_deliver` MUST NOT switch. `commit` runs in one greenlet only, and may wait in `Store.append`.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import structs

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, MessageEvent
from chat_server.core.base.interval_stats import Stats, microseconds
from chat_server.core.delivery.batch import Barrier, Batch, Draft, Opening
from chat_server.core.delivery.room import Room
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.link import Signal
from chat_server.core.ports.records import IdentityRecord, Records, RoomRecord, SessionRecord, Standing
from chat_server.core.ports.store import Store, StoreUnavailable
from chat_server.core.sessions.session import Session

RETRY_AFTER: Final = 0.05
"""Seconds until a store that failed is tried again."""

SORRY: Final = "the store cannot be written now; send it again"

_OVERHEAD: Final = 200  # bytes of memory that a queued message takes beside its text


class Ingest:
    """Takes messages and what must keep its place among them; hands batches to the store, then to rooms."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        stats: Callable[[], Stats],
        *,
        bound: int,
        patience: float,
        wake: Callable[[], None],
        opened: Callable[[Opening], None],
        revive: Callable[[Room, Session], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._stats = stats
        self._bound = bound
        self._patience = patience
        self._wake = wake
        self._opened = opened
        self._revive = revive
        self._next = Batch()
        self._taken: Batch | None = None
        self._failing_since: float | None = None
        self._awake = False
        self._waiters: list[Signal] = []
        self.last_error: str | None = None
        self.refused = 0  # messages refused since the start, because the store stayed away too long
        self.on_stored: Callable[[list[Draft]], None] | None = None

    @property
    def size(self) -> int:
        """Bytes that wait for their commit."""
        return self._next.size + (self._taken.size if self._taken else 0)

    @property
    def full(self) -> bool:
        """Tell whether readers must wait (`on_room`) before they submit more."""
        return self.size > self._bound

    @property
    def idle(self) -> bool:
        """Tell whether nobody waits for a commit (a note for the store may, after a failure)."""
        return self._taken is None and not self._next.messages and not self._next.asides

    def on_room(self, signal: Signal) -> None:
        """Set `signal` when the queue has room again."""
        self._waiters.append(signal)

    def submit(self, draft: Draft) -> None:
        """Queue a message, with the records that must be stored before it."""
        author = draft.author
        batch = self._next
        if not author.identity_stored:
            self._store_identity(author)
        if not draft.room.record.id:
            self._store_room(draft.room.record)
        author.pending += 1
        if draft.ref is not None:
            author.remember(draft.ref, draft)
        batch.messages.append(draft)
        batch.size += len(draft.text) + _OVERHEAD
        if not self._awake:  # as in _rouse: one call less for each message
            self._awake = True
            self._wake()

    def open(self, opening: Opening) -> None:
        """Queue the opening of a conversation; messages submitted later come after it."""
        for session in (opening.opener, opening.peer):
            if not session.identity_stored:
                self._store_identity(session)
        self._store_room(opening.room.record)
        self._aside(opening)

    def save(self, record: SessionRecord, identity: IdentityRecord, signal: Signal) -> Barrier:
        """Queue a session to be stored; the barrier is reached when it is."""
        records = self._records()
        records.identities.append(identity)
        records.sessions.append(record)
        return self.barrier(signal)

    def rename(self, record: SessionRecord, signal: Signal) -> Barrier:
        """Queue the new name of a session that may be resumed; the barrier is reached when it is stored."""
        self._records().renamed.append(record)
        return self.barrier(signal)

    def end(self, session_id: str) -> None:
        """Let the store forget a session that cannot be resumed any more."""
        self._records().ended.append(session_id)
        self._rouse()

    def note(self, standing: Standing) -> None:
        """Let the store know how a conversation stands; what is queued before it comes first."""
        self._records().standings.append(standing)
        self._rouse()

    def barrier(self, signal: Signal) -> Barrier:
        """Set `signal` when all that is queued by now has been committed and delivered, or refused."""
        barrier = Barrier(signal)
        self._aside(barrier)
        return barrier

    def commit(self) -> float | None:
        """Commit and deliver what is queued. Return seconds until the next try, None if none is due.

        With nothing queued, a store that has failed is tried with an empty batch: so `last_error` stays true
        also when nobody says anything.
        """
        self._awake = False
        if self._taken is None:
            self._taken, self._next = self._next, Batch()
        batch = self._taken
        batch.timestamp = round(self._clock.time(), 6)
        try:
            trial = self.last_error is not None and batch.asides is None
            if batch.messages or batch.records is not None or trial:
                self._store.append(batch)
                self._failing_since = None  # by nothing else is it known that the store is back
                self.last_error = None
        except StoreUnavailable as error:
            return self._failed(str(error))
        except Exception:
            self._refuse_all()  # ours; a batch that cannot be stored must not stand before all others
            raise
        committed = self._clock.monotonic()
        self._taken = None
        try:
            self._deliver(batch, committed)
        except Exception:
            for _, aside in batch.asides or ():  # ours; but nobody may wait for ever for it
                if isinstance(aside, Barrier):
                    aside.failed = True
                    aside.signal.set()
            raise
        if self._waiters and not self.full:
            self._let_in()
        return None

    def _aside(self, what: Opening | Barrier) -> None:
        batch = self._next
        if batch.asides is None:
            batch.asides = []
        batch.asides.append((len(batch.messages), what))
        self._rouse()

    def _rouse(self) -> None:
        if not self._awake:
            self._awake = True
            self._wake()

    def _store_room(self, record: RoomRecord) -> None:
        if not record.id and not record.queued:
            record.queued = True
            self._records().rooms.append(record)

    def _store_identity(self, session: Session) -> None:
        session.identity_stored = True
        self._records().identities.append(IdentityRecord(session.identity, session.name))

    def _records(self) -> Records:
        batch = self._next
        if batch.records is None:
            batch.records = Records()
        return batch.records

    def _failed(self, error: str) -> float | None:
        """Keep what is queued for another try, or refuse it when patience is at its end."""
        now = self._clock.monotonic()
        self.last_error = error
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since < self._patience:
            return RETRY_AFTER
        self._refuse_all()
        return None

    def _refuse_all(self) -> None:
        """Refuse what was taken and what is queued behind it, which may need the records in front of it."""
        taken, queued = self._taken, self._next
        self._taken, self._next = None, Batch()
        for batch in (taken, queued):
            if batch is not None:
                self._refuse(batch)
        self._let_in()

    def _let_in(self) -> None:
        """Let those go on that wait for room in the queue."""
        waiters, self._waiters = self._waiters, []
        for signal in waiters:
            signal.set()

    def _refuse(self, batch: Batch) -> None:
        """Tell the senders that nothing of the batch is stored, and forget that it was under way."""
        self._stats().errors[ErrorCode.UNAVAILABLE] += len(batch.messages)
        self.refused += len(batch.messages)
        records = batch.records or Records()
        self._carry_over(records)
        for record in records.rooms:
            record.queued = False
        stored = {identity.id for identity in records.identities}
        for draft in batch.messages:
            author = draft.author
            author.pending -= 1
            if author.identity in stored:
                author.identity_stored = False
            if draft.ref is not None:
                author.forget(draft.ref)
            author.answer(Error(code=ErrorCode.UNAVAILABLE, message=SORRY, ref=draft.ref))
        for _, aside in batch.asides or ():
            if isinstance(aside, Barrier):
                aside.failed = True
                aside.signal.set()
                continue
            for session in (aside.opener, aside.peer):
                if session.identity in stored:
                    session.identity_stored = False
            aside.failed = True
            self._opened(aside)

    def _carry_over(self, records: Records) -> None:
        """Keep for a later batch what nobody waits for and what is true all the same."""
        standings = [one for one in records.standings if one.room.id and (one.seq is None or one.closed_by)]
        if records.renamed or records.ended or standings:
            kept = self._records()
            kept.renamed.extend(records.renamed)
            kept.ended.extend(records.ended)
            kept.standings.extend(standings)

    def _deliver(self, batch: Batch, committed: float) -> None:
        stats = self._stats()
        messages = batch.messages
        if messages:
            stats.commits += 1
            stats.messages += len(messages)
        if batch.asides is None:
            self._publish(messages, batch.timestamp, committed, stats)
            return
        done = 0
        for index, aside in batch.asides:
            self._publish(messages[done:index], batch.timestamp, committed, stats)
            done = index
            if isinstance(aside, Barrier):
                aside.signal.set()
            else:
                self._opened(aside)
        self._publish(messages[done:], batch.timestamp, committed, stats)

    def _publish(self, drafts: list[Draft], timestamp: float, committed: float, stats: Stats) -> None:
        by_room: dict[Room, list[MessageEvent]] = {}
        repeats: list[Draft] = []
        tally = stats.accept_to_commit
        rooms = stats.rooms
        for draft in drafts:
            author = draft.author
            room = draft.room
            author.pending -= 1
            if author.behind is not None:
                cursor = author.behind.cursors.get(room)
                if cursor is not None:
                    cursor.own = draft.seq
            ref = draft.ref
            refs = author.refs
            if ref is not None and refs is not None:
                if ref in refs:  # else newer ones have pushed it out
                    refs[ref] = draft.id
                if draft.repeats:
                    repeats.append(draft)
            event = event_of(draft, timestamp)
            events = by_room.get(room)
            if events is None:
                by_room[room] = [event]
            else:
                events.append(event)
            took = microseconds(committed - draft.accepted_at)
            tally[took] = tally.get(took, 0) + 1
            own = rooms.get(room.name)
            if own is not None and own.accept_to_commit is not None:
                own.accept_to_commit[took] = own.accept_to_commit.get(took, 0) + 1
        clock = self._clock.monotonic
        tally = stats.commit_to_sent
        for room, events in by_room.items():
            if not room.members and room.record.pair is not None:
                senders = dict.fromkeys(draft.author for draft in drafts if draft.room is room)
                self._closed_meanwhile(room, events, senders)
            deliveries, sent = room.publish(events)
            stats.deliveries += deliveries
            stats.bytes_out += sent
            took = microseconds(clock() - committed)
            tally[took] = tally.get(took, 0) + 1
            own = stats.room(room.name)
            own.messages += len(events)
            own.deliveries += deliveries
            if own.commit_to_sent is not None:
                own.commit_to_sent[took] = own.commit_to_sent.get(took, 0) + 1
        if self.on_stored is not None:
            self.on_stored(drafts)
        for draft in repeats:
            for _ in range(draft.repeats):
                draft.author.answer(again(event_of(draft, timestamp)))

    def _closed_meanwhile(self, room: Room, events: list[MessageEvent], senders: Iterable[Session]) -> None:
        """Open a conversation again for a message that was on its way when it was closed.

        If the other side is gone for good, the senders alone are told that theirs are stored.
        """
        for author in senders:
            if not room.members:
                self._revive(room, author)
        if not room.members:
            for author in senders:
                for event in events:
                    if event.sender == author.id:
                        author.answer(event)


def again(event: MessageEvent) -> MessageEvent:
    """Return the event as the answer to a message that came twice."""
    return structs.replace(event, again=True)


def event_of(draft: Draft, timestamp: float) -> MessageEvent:
    """Return the event of a message that the store has; the room's name is the one that the store gave it."""
    author = draft.author
    return MessageEvent(
        room=draft.room.record.name,
        seq=draft.seq,
        sender=author.id,
        username=draft.username,
        message=draft.text,
        timestamp=timestamp,
        origin=author.origin,
        ref=draft.ref,
    )
