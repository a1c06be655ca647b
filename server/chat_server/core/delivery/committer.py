"""The committer: takes what the ingest has queued, appends it to the log, and has it published.

Batches need no timer: messages that arrive during a commit form the next batch. Nothing is delivered before
it is stored. `commit` may wait in `Store.append`, and MUST run in one greenlet only.
"""

from collections.abc import Callable
from typing import Final

from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error
from chat_server.core.base.interval_stats import IntervalStats
from chat_server.core.delivery.batch import Barrier, Batch, QueuedOpening
from chat_server.core.delivery.ingest import STORE_UNAVAILABLE_TEXT, Ingest
from chat_server.core.delivery.publisher import Publisher
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.records import RegistryChanges
from chat_server.core.ports.store import Store, StoreUnavailable

APPEND_RETRY_INTERVAL_S: Final = 0.05
"""Seconds between two attempts to write to a store that fails."""


class Committer:
    """Commits batch after batch; tries for `patience_s` seconds to store one, then rejects it."""

    def __init__(
        self,
        store: Store,
        ingest: Ingest,
        publisher: Publisher,
        clock: Clock,
        stats: Callable[[], IntervalStats],
        *,
        patience_s: float,
    ) -> None:
        self._store = store
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
        """Return whether no session waits for a commit (registry changes may, after a failure)."""
        return self._committing is None and self._ingest.idle

    def commit(self) -> float | None:
        """Commit and deliver the queue. Return the seconds until a retry is due, None if none is.

        After a failure an empty queue is committed as well, as a probe: so `last_error` is cleared even if
        nobody sends a message. May wait.
        """
        batch = self._committing
        if batch is None:
            batch = self._committing = self._ingest.take()
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
            self._publisher.deliver(batch, committed)
        except Exception:
            for _, item in batch.interleaved or ():  # a bug; but nobody may wait for ever
                if isinstance(item, Barrier):
                    item.failed = True
                    item.signal.set()
            raise
        self._ingest.end_commit()
        return None

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
        changes = batch.registry_changes or RegistryChanges()
        self._ingest.requeue(changes)
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
        interleaved = [item for _, item in batch.interleaved or ()]
        for item in interleaved:
            if isinstance(item, QueuedOpening):
                for session in (item.opener, item.peer):
                    if session.identity in identity_ids:
                        session.identity_stored = False
        self._publisher.reject(interleaved)
