"""The directory: all named sessions, connected or held, by name. MUST NOT switch greenlets."""

import random
from typing import Final

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_server.core.base.sorted_dict import SortedDict
from chat_server.core.names import scripts
from chat_server.core.names.confusables import Confusables
from chat_server.core.names.skeletons import imitates_reserved
from chat_server.core.ports.clock import Clock
from chat_server.core.sessions.session import Session

KICKED_NAME_BLOCKED_S: Final = 60.0
"""Seconds for which the name of a kicked user cannot be taken again."""

_GUEST_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # no two of these look alike


class Directory(SortedDict[Session]):
    """Sessions, connected or held, by folded name; sorted by it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._confusables = Confusables()
        self._blocked_until: dict[str, float] = {}  # folded name of a kicked user -> monotonic seconds

    def require_user(self, name: str) -> Session:
        """Return the user with this name, connected or held, or raise `Refused`."""
        session = self.get(name) or self.get(names.fold(name))
        if session is None or not session.id:
            raise Refused(ErrorCode.NO_SUCH_USER, f"nobody here is called {name[: names.MAX_NAME_CHARS]}")
        return session

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

    def claim(self, name: str, session: Session) -> None:
        """Give the session the name it asks for, or raise `Refused`."""
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
        if holder is not None and holder is not session:
            raise Refused(ErrorCode.NAME_TAKEN, f"the name {shown} is taken; choose another")
        alike = self._confusables.find_confusable(shown, key, session.key)
        if alike is not None:
            raise Refused(
                ErrorCode.NAME_TAKEN, f"the name {shown} looks like {alike}, which is taken; choose another"
            )
        self.assign(shown, key, session)

    def claim_guest_name(self, session: Session) -> None:
        """Give the session a free guest name."""
        while True:
            shown = names.GUEST_PREFIX + "".join(random.choices(_GUEST_LETTERS, k=4))
            if shown not in self:
                return self.assign(shown, shown, session)

    def assign(self, shown: str, key: str, session: Session) -> None:
        """Give the session a name that is known to be free, and release its current one."""
        self.release(session)
        session.name = shown
        session.key = key
        self[key] = session
        self._confusables.add_name(shown, key)

    def release(self, session: Session) -> None:
        """Release the session's name, if it has one."""
        if session.key and self.get(session.key) is session:
            del self[session.key]
            self._confusables.remove_name(session.key)
        session.key = ""

    def block_name(self, key: str) -> None:
        """Make the name of a kicked user unavailable for `KICKED_NAME_BLOCKED_S` seconds."""
        now = self._clock.monotonic()
        self._blocked_until = {key: until for key, until in self._blocked_until.items() if until > now}
        self._blocked_until[key] = now + KICKED_NAME_BLOCKED_S
