"""The port to the message log, and its rows. A message exists if and only if it is stored.

The rows are pure values: no live object of the core crosses a port, and an engine does not change what it is
given. A method that *may wait* switches greenlets: after it, the caller checks again that its session is
still open. All other methods MUST NOT switch: the ordering of messages depends on it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NewType, Protocol

from msgspec import Struct

from chat_protocol.events import MessageEvent

UNBOUNDED_BYTES: Final = 1 << 62

StoredAt = NewType("StoredAt", object)
"""Where a message is stored: a value of the engine, which alone knows what it means (`Log.find`)."""


ref_key: Final = hash
"""The key under which a ref is remembered: its 64-bit hash (SipHash, with a random key for each process).

As text a session's 1,024 refs, of 64 characters each, would take up to 800 KB. Refs are compared within a
session only, so a collision would cost its own user a message, and nobody can look for one: no hash leaves
the process. By chance two of 1,024 refs have the same hash in one of 10^13 sessions.
"""


class StoreUnavailable(Exception):  # noqa: N818  a state of the store, not a mistake
    """The engine cannot write or read now. After a write: nothing of it is stored, it can be tried again."""


class Origin(StrEnum):
    """Where a message was written: by a client, or at the server's console."""

    CLIENT = "client"
    SERVER = "server"


class NewMessage(Struct, frozen=True, gc=False):
    """A message to be appended. `room`: id of a stored room; `session`: public id; `identity`: number."""

    room: int
    session: str
    identity: int
    username: str
    text: str
    ref: str | None
    origin: Origin


class ConversationRow(Struct, frozen=True, gc=False):
    """The state of a conversation (`room`: its id): open since seq `since`, or, if that is None, closed.

    With `closed_by` it was closed by that identity, and the other side has not received the closing yet, nor
    the messages after `since`.
    """

    room: int
    since: int | None
    closed_by: int | None = None


class Appended(Struct, frozen=True):
    """What the engine has set: `timestamp` of all messages of the batch, in seconds since the epoch.

    `bases`: by room id, the seq before its first message of this batch; a room's messages follow in their
    order, without a gap. The caller may change it. `stored_at`: where each message is, by its index in the
    batch.
    """

    timestamp: float
    bases: dict[int, int]
    stored_at: Sequence[StoredAt]


class Log(Protocol):
    """The message log. It issues the seqs: of each room from 1, without gaps, never one twice in an epoch."""

    epoch: str
    """Identifies a run of seqs: it changes when seqs may have been issued twice."""

    def append(self, messages: Sequence[NewMessage], states: Sequence[ConversationRow] = ()) -> Appended:
        """Store messages and states of conversations, each in its order, all or nothing. May wait.

        The last state of a room remains. Without messages and states it changes nothing, but is written like
        any other batch, so it shows whether writes succeed. Raises `StoreUnavailable`, and `KeyError` for a
        message of a room that is not stored, or was released; then nothing of the batch is stored.
        """

    def release(self, room: int) -> None:
        """Note that no message will be appended to a room any more; those that it has can still be read."""

    def read(
        self,
        room: int,
        name: str,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED_BYTES,
        catching_up: bool = False,
    ) -> list[MessageEvent]:
        """Return up to `limit` messages of a room with after < seq < before, ascending. May wait.

        `name` is the room's, for the events. With `newest` they are the last ones of that range, else the
        first. Reading stops once their texts exceed `size` bytes of UTF-8 in total, so at least one is
        returned if there is any. A message that is left out between others, or before `before`, can no longer
        be had: it was deleted, or is damaged. With `catching_up` it does not wait for reads without it.
        Raises `StoreUnavailable`.
        """

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        """Return a message, None if it is no longer stored. May wait. Raises `StoreUnavailable`."""

    def refs(self, session: str, limit: int) -> dict[int, StoredAt]:
        """Return the last `limit` refs of a resumable session, oldest first, each with its newest message.

        The refs are keys (`ref_key`). All messages that were appended before the call count. May wait. Raises
        `StoreUnavailable`.
        """

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete some messages that exceed the retention limits: one short step. May wait.

        These are messages with `keep` newer ones in their room (0: no limit), and those in the log before the
        first one that is not older than `before` (seconds since the epoch; 0.0: no limit); the last message
        of the log is kept in any case. Returns the last deleted seq by room id; empty if nothing is left to
        delete. Raises `StoreUnavailable`.
        """
