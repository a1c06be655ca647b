"""Ingest: the bounded queue in front of the log. What it has collected is the committer's next batch.

MUST NOT switch greenlets.
"""

from collections.abc import Iterable
from typing import Final

from chat_protocol.errors import ErrorCode, Refused
from chat_server.core.delivery.batch import (
    Barrier,
    Batch,
    QueuedChanges,
    QueuedMessage,
    QueuedOpening,
    QueuedState,
)
from chat_server.core.delivery.room import Room, User
from chat_server.core.ports.link import Signal
from chat_server.core.ports.registry import (
    EndedRoom,
    IdentityRecord,
    NewRoom,
    RegistryChanges,
    SessionRecord,
)
from chat_server.core.ports.wakeup import Wakeup
from chat_server.core.sessions.session import REFS_KEPT

STORE_UNAVAILABLE_TEXT: Final = "message store unavailable; retry with the same ref"

_MESSAGE_OVERHEAD_BYTES: Final = 200  # memory of a queued message besides its text


class Ingest:
    """Queues messages, openings and barriers in order, and the changes that are stored with them."""

    def __init__(self, wakeup: Wakeup, *, max_bytes: int) -> None:
        self._wake = wakeup.wake
        self._max_bytes = max_bytes
        self._collecting = Batch()
        self._committing: Batch | None = None
        self._unstored_ends: dict[str, EndedRoom] = {}  # by key
        self._collecting_bytes = 0
        self._committing_bytes = 0
        self._commit_requested = False
        self._space_signals: list[Signal] = []

    @property
    def queued_bytes(self) -> int:
        """Memory of the messages that are not committed yet, in bytes."""
        return self._collecting_bytes + self._committing_bytes

    @property
    def full(self) -> bool:
        """Return whether readers must wait (`notify_when_space`) before they submit more."""
        return self._collecting_bytes + self._committing_bytes > self._max_bytes

    @property
    def idle(self) -> bool:
        """Return whether no session waits for what is collected (changes may be)."""
        return not self._collecting.messages and not self._collecting.interleaved

    def notify_when_space(self, signal: Signal) -> None:
        """Set `signal` when the queue has space again."""
        self._space_signals.append(signal)

    def submit(self, message: QueuedMessage) -> None:
        """Queue a message, and the registry changes that must be stored before it.

        Raises `Refused` if its room is being deleted.
        """
        author = message.author
        if not message.room.is_writable:
            self._prepare_room(message.room)
        batch = self._collecting
        if not author.identity.is_stored:
            self._queue_identity(author.identity)
        author.pending += 1
        if message.ref is not None:
            refs = author.refs
            if refs is None or len(refs) >= REFS_KEPT:
                author.remember_ref(message.ref_key, message)
            else:  # the same, inlined: this saves a call per message
                refs[message.ref_key] = message
        batch.messages.append(message)
        self._collecting_bytes += len(message.text) + _MESSAGE_OVERHEAD_BYTES
        if not self._commit_requested:  # `_request_commit`, inlined: this saves a call per message
            self._commit_requested = True
            self._wake()

    def open_conversation(self, opening: QueuedOpening) -> None:
        """Queue an opening of a conversation; messages submitted later come after it."""
        for identity in (opening.opener.identity, opening.peer):
            if not identity.is_stored:
                self._queue_identity(identity)
        self._queue_room(opening.room)
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

    def save_conversation_state(self, state: QueuedState) -> None:
        """Queue a conversation's state; it is stored after what was queued before."""
        self._changes().states.append(state)
        self._request_commit()

    def end_room(self, room: Room) -> None:
        """Queue the end of a public room that is stored; no message of it may be queued (`holds`)."""
        row = EndedRoom(room.id, room.key, room.head)
        self._registry_changes().ended_rooms.append(row)
        self._unstored_ends[room.key] = row
        self._request_commit()

    def unstored_end(self, key: str) -> EndedRoom | None:
        """Return the last end of the room of this key that is queued, None if there is none."""
        return self._unstored_ends.get(key)

    def note_ends_stored(self, ended: Iterable[EndedRoom]) -> None:
        """Note that the registry has these ends."""
        for row in ended:
            if self._unstored_ends.get(row.key) is row:
                del self._unstored_ends[row.key]

    def holds(self, room: Room) -> bool:
        """Return whether a message of the room is queued, or is being committed. Reads the whole queue."""
        return any(
            message.room is room
            for batch in (self._committing, self._collecting)
            if batch is not None
            for message in batch.messages
        )

    def release_room(self, room: Room) -> None:
        """Note that no message will be submitted for a room any more. The next commit will do."""
        self._changes().released_rooms.append(room)

    def add_barrier(self, signal: Signal) -> Barrier:
        """Return a barrier that sets `signal` when all that is queued now is delivered or rejected."""
        barrier = Barrier(signal)
        self._interleave(barrier)
        return barrier

    def take(self) -> Batch:
        """Return what was queued, to be committed now; its bytes count until `end_commit`."""
        batch, self._collecting = self._collecting, Batch()
        self._committing = batch
        self._committing_bytes, self._collecting_bytes = self._collecting_bytes, 0
        self._commit_requested = False
        return batch

    def end_commit(self) -> None:
        """Forget the bytes of what was taken, and wake the readers that wait for space."""
        self._committing_bytes = 0
        self._committing = None
        if self._space_signals and not self.full:
            signals, self._space_signals = self._space_signals, []
            for signal in signals:
                signal.set()

    def requeue(self, changes: QueuedChanges) -> None:
        """Queue again those of rejected changes that no session waits for and that remain valid.

        Of each session and each conversation the last change is enough, so a store that fails for hours does
        not fill the memory. A session that is stored although its batch was rejected is queued to be deleted:
        no client has it.
        """
        states = [
            state for state in changes.states if state.room.id and (state.since is None or state.closed_by)
        ]
        if states:
            next_states = self._changes().states
            next_states[:] = {state.room: state for state in (*states, *next_states)}.values()
        registry = changes.registry
        if registry is None:
            return
        if changes.is_registered:
            renamed, ended = [], [session.id for session in registry.sessions]
            ended_rooms = []
        else:
            renamed, ended = registry.renamed_sessions, registry.ended_sessions
            ended_rooms = registry.ended_rooms
        if renamed or ended or ended_rooms:
            next_changes = self._registry_changes()
            renamed = [*renamed, *next_changes.renamed_sessions]
            next_changes.renamed_sessions = list({record.id: record for record in renamed}.values())
            next_changes.ended_sessions.extend(ended)
            next_changes.ended_rooms.extend(ended_rooms)

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

    def _prepare_room(self, room: Room) -> None:
        """Queue a room that is not stored yet; raise `Refused` if it is being deleted."""
        if room.is_ending:
            raise Refused(ErrorCode.NO_SUCH_ROOM, f"the room {room.name} is being deleted")
        self._queue_room(room)

    def _queue_room(self, room: Room) -> None:
        if not room.id and not room.is_queued:
            room.is_queued = True
            self._registry_changes().rooms.append(NewRoom(room.name, room.key, room.pair))
            self._changes().rooms.append(room)

    def _queue_identity(self, identity: User) -> None:
        identity.is_stored = True
        self._registry_changes().identities.append(IdentityRecord(identity.id, identity.name))

    def _registry_changes(self) -> RegistryChanges:
        changes = self._changes()
        if changes.registry is None:
            changes.registry = RegistryChanges()
        return changes.registry

    def _changes(self) -> QueuedChanges:
        batch = self._collecting
        if batch.changes is None:
            batch.changes = QueuedChanges()
        return batch.changes
