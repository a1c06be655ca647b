"""The directory: all identities with a session, connected or held, by name. MUST NOT switch greenlets."""

import math
import random
from collections.abc import Callable
from typing import Final, Generic

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_server.core.base.sorted_dict import SortedDict
from chat_server.core.identity.identity import Identity, SessionT
from chat_server.core.names import scripts
from chat_server.core.names.confusables import Confusables
from chat_server.core.names.skeletons import imitates_reserved
from chat_server.core.ports.clock import Clock

KICKED_NAME_BLOCKED_S: Final = 60.0
"""Seconds for which the name of a kicked user cannot be taken again."""

_GUEST_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # no two of these look alike


class Directory(SortedDict[Identity[SessionT]], Generic[SessionT]):
    """Identities by folded name; sorted by it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._confusables = Confusables()
        self.hold_left: Callable[[tuple[SessionT, ...]], float | None] = lambda _: None
        """Returns the seconds until sessions that are held expire; None if one is connected."""
        self._blocked_until: dict[str, float] = {}  # folded name of a kicked user -> monotonic seconds

    def require_user(self, name: str) -> Identity[SessionT]:
        """Return the user with this name, connected or held, or raise `Refused`."""
        identity = self.get(name) or self.get(names.fold(name))
        if identity is None or not identity.sessions:
            raise Refused(ErrorCode.NO_SUCH_USER, f"nobody here is called {name[: names.MAX_NAME_CHARS]}")
        return identity

    @staticmethod
    def check_name(name: str) -> tuple[str, str]:
        """Return (shown, folded) of a name that clients may choose, or raise `Refused`."""
        try:
            shown = names.validate_name(name)
        except ValueError as error:
            raise Refused(ErrorCode.NAME_INVALID, str(error)) from None
        key = names.fold(shown)
        if names.is_reserved(key) or imitates_reserved(shown, key):
            raise Refused(ErrorCode.NAME_INVALID, f"the name {shown} is reserved; choose another")
        mixed = scripts.mixing_problem(shown)
        if mixed is not None:
            raise Refused(ErrorCode.NAME_INVALID, mixed)
        return shown, key

    def claim(self, name: str) -> Identity[SessionT]:
        """Return a new identity with the name that is asked for, or raise `Refused`."""
        shown, key = self._require_free(name, "")
        return self.add(shown, key)

    def rename(self, identity: Identity[SessionT], name: str) -> None:
        """Give an identity another name, and release its current one, or raise `Refused`."""
        shown, key = self._require_free(name, identity.key)
        self.release(identity)
        identity.name, identity.key = shown, key
        self._assign(identity)

    def claim_guest_name(self) -> Identity[SessionT]:
        """Return a new identity with a free guest name."""
        while True:
            shown = names.GUEST_PREFIX + "".join(random.choices(_GUEST_LETTERS, k=4))
            if shown not in self:
                return self.add(shown, shown)

    def add(self, shown: str, key: str) -> Identity[SessionT]:
        """Return a new identity with a name that is known to be free."""
        identity: Identity[SessionT] = Identity(shown, key)
        self._assign(identity)
        return identity

    def release(self, identity: Identity[SessionT]) -> None:
        """Release the name of an identity that ends, or is renamed."""
        if self.get(identity.key) is identity:
            del self[identity.key]
            self._confusables.remove_name(identity.key)

    def block_name(self, key: str) -> None:
        """Make the name of a kicked user unavailable for `KICKED_NAME_BLOCKED_S` seconds."""
        now = self._clock.monotonic()
        self._blocked_until = {key: until for key, until in self._blocked_until.items() if until > now}
        self._blocked_until[key] = now + KICKED_NAME_BLOCKED_S

    def _assign(self, identity: Identity[SessionT]) -> None:
        self[identity.key] = identity
        self._confusables.add_name(identity.name, identity.key)

    def _require_free(self, name: str, own_key: str) -> tuple[str, str]:
        """Return (shown, folded) of a name that is free, or is `own_key`, or raise `Refused`."""
        shown, key = self.check_name(name)
        until = self._blocked_until.get(key)
        if until is not None:
            wait = until - self._clock.monotonic()
            if wait > 0:
                raise Refused(
                    ErrorCode.FORBIDDEN,
                    f"{shown} was kicked, and cannot return yet",
                    retry_after=round(wait, 1),
                )
            del self._blocked_until[key]
        holder = self.get(key)
        if holder is not None and key != own_key:
            raise self._taken(shown, holder)
        alike = self._confusables.find_confusable(shown, key, own_key)
        if alike is not None:
            raise Refused(
                ErrorCode.NAME_TAKEN, f"the name {shown} looks like {alike}, which is taken; choose another"
            )
        return shown, key

    def _taken(self, shown: str, holder: Identity[SessionT]) -> Refused:
        left = self.hold_left(holder.sessions)
        if left is None:
            return Refused(ErrorCode.NAME_TAKEN, f"the name {shown} is taken; choose another")
        wait = f"{math.ceil(left / 60)} min" if left > 90 else f"{math.ceil(left)} s"
        return Refused(
            ErrorCode.NAME_TAKEN,
            f"the name {shown} is held for a session that was cut off, and free in {wait}; choose another",
            retry_after=round(left, 1),
        )
