"""The committer: takes what the ingest has queued, stores it, and has it published.

First what the registry must know (rooms, identities, sessions), then the messages, which refer to it: two
transactions. If the second one fails, the first one remains, and is not written again. Batches need no timer:
messages that arrive during a commit form the next batch. Nothing is delivered before it is stored. `commit`
may wait in `Registry.write` and `Log.append`, and MUST run in one greenlet only.
"""

from collections.abc import Callable, Sequence
from typing import Final

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error
from chat_server.core.base.interval_stats import IntervalStats
from chat_server.core.delivery.batch import Barrier, Batch, QueuedChanges, QueuedOpening
from chat_server.core.delivery.ingest import STORE_UNAVAILABLE_TEXT, Ingest
from chat_server.core.delivery.publisher import Publisher
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.log import ConversationRow, Log, NewMessage, StoreUnavailable
from chat_server.core.ports.registry import Registry

APPEND_RETRY_INTERVAL_S: Final = 0.05
"""Seconds between two attempts to write to a store that fails."""


class Committer:
    """Commits batch after batch; tries for `patience_s` seconds to store one, then rejects it."""

    def __init__(
        self,
        log: Log,
        registry: Registry,
        ingest: Ingest,
        publisher: Publisher,
        clock: Clock,
        stats: Callable[[], IntervalStats],
        *,
        patience_s: float,
    ) -> None:
        self._log = log
        self._registry = registry
        self._ingest = ingest
        self._publisher = publisher
        self._clock = clock
        self._stats = stats
        self._patience_s = patience_s
        self._committing: Batch | None = None
        self._failing_since: float | None = None
        self.last_error: str | None = None
        self.refused_messages = 0  # since the start, after the store had failed for `patience_s`

    @property
    def idle(self) -> bool:
        """Return whether no session waits for a commit (changes may, after a failure)."""
        return self._committing is None and self._ingest.idle

    def commit(self) -> float | None:
        """Commit and deliver the queue. Return the seconds until a retry is due, None if none is.

        After a failure an empty queue is committed as well, as a probe: so `last_error` is cleared even if
        nobody sends a message. May wait.
        """
        batch = self._committing
        if batch is None:
            batch = self._committing = self._ingest.take()
        messages, changes = batch.messages, batch.changes
        states: Sequence[ConversationRow] = ()
        timestamp = 0.0
        wrote = False
        try:
            if changes is not None:
                wrote = self._write_registry(changes)
                states = [
                    ConversationRow(state.room.id, state.since, state.closed_by) for state in changes.states
                ]
            if (
                messages
                or states
                or (self.last_error is not None and not wrote and batch.interleaved is None)  # a probe
            ):
                rows = []
                for message in messages:
                    author = message.author
                    rows.append(
                        NewMessage(
                            message.room.id,
                            author.id,
                            author.identity.id,
                            message.username,
                            message.text,
                            message.ref,
                            author.origin,
                        )
                    )
                appended = self._log.append(rows, states)
                timestamp = appended.timestamp
                seqs, stored_at = appended.bases, appended.stored_at
                index = 0
                for message in messages:
                    room_id = message.room.id
                    seqs[room_id] = message.seq = seqs[room_id] + 1
                    message.stored_at = stored_at[index]
                    index += 1  # noqa: SIM113  `enumerate` would cost more for a batch of one, which is common
                wrote = True
        except StoreUnavailable as error:
            return self._on_write_failed(str(error))
        except Exception:
            self._refuse_all()  # a bug; a batch that cannot be stored must not block those behind it
            raise
        if wrote:
            self._failing_since = None  # only a successful write proves that the store works again
            self.last_error = None
        if changes is not None:
            self._release_rooms(changes)
        committed = self._clock.monotonic()
        self._committing = None
        try:
            self._publisher.deliver(batch, timestamp, committed)
        except Exception:
            for _, item in batch.interleaved or ():  # a bug; but nobody may wait for ever
                if isinstance(item, Barrier):
                    item.failed = True
                    item.signal.set()
            raise
        self._ingest.end_commit()
        return None

    def _write_registry(self, changes: QueuedChanges) -> bool:
        """Write what is not registered yet, and give the rooms their ids; return whether it had to.

        Raises `StoreUnavailable`.
        """
        if changes.registry is None or changes.is_registered:
            return False
        stored_rooms = self._registry.write(changes.registry)
        changes.is_registered = True
        self._ingest.note_ends_stored(changes.registry.ended_rooms)
        for room, stored in zip(changes.rooms, stored_rooms, strict=True):
            room.id, room.is_queued = stored.id, False
            room.is_writable = not room.is_ending
            if room.pair is not None:
                room.name, room.key = stored.name, stored.key
        return True

    def _release_rooms(self, changes: QueuedChanges) -> None:
        for room in changes.released_rooms:
            if room.id:
                self._log.release(room.id)

    def _on_write_failed(self, error: str) -> float | None:
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
        committing, self._committing = self._committing, None
        collecting = self._ingest.take()
        for batch in (committing, collecting):
            if batch is not None:
                self._refuse_batch(batch)
        self._ingest.end_commit()

    def _refuse_batch(self, batch: Batch) -> None:
        """Answer the senders that nothing of the batch is stored, and undo what assumed that it would be."""
        self._stats().errors[ErrorCode.UNAVAILABLE] += len(batch.messages)
        self.refused_messages += len(batch.messages)
        changes = batch.changes or QueuedChanges()
        self._ingest.requeue(changes)
        self._release_rooms(changes)
        identity_ids: set[int] = set()
        if changes.registry is not None and not changes.is_registered:
            identity_ids.update(identity.id for identity in changes.registry.identities)
        for room in changes.rooms:  # those that are registered, without a message, are found there again
            if room.id:
                self._log.release(room.id)
            room.id, room.is_queued, room.is_writable = 0, False, False
            room.name, room.key = room.name.partition("#")[0], room.key.partition("#")[0]
        for message in batch.messages:
            author = message.author
            author.pending -= 1
            if author.identity.id in identity_ids:
                author.identity.is_stored = False
            if message.ref is not None:
                author.forget_ref(message.ref_key)
            author.send_if_open(
                Error(code=ErrorCode.UNAVAILABLE, message=STORE_UNAVAILABLE_TEXT, ref=message.ref)
            )
        interleaved = [item for _, item in batch.interleaved or ()]
        for item in interleaved:
            if isinstance(item, QueuedOpening):
                for identity in (item.opener.identity, item.peer):
                    if identity.id in identity_ids:
                        identity.is_stored = False
        self._publisher.reject(interleaved)
