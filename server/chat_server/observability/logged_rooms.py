"""Names of rooms in the event log: the name of a conversation consists of the names of its two users."""

import hashlib
import secrets
from typing import Final

_KEY: Final = secrets.token_bytes(16)  # of this process: with one that is kept, names could be tried out
_PSEUDONYM_BYTES: Final = 6


def logged_room(name: str) -> str:
    """Return the name of a public room; of a conversation `@` and a pseudonym, the same until the restart."""
    if not name.startswith("@"):  # no name of a public room does
        return name
    return "@" + hashlib.blake2b(name.encode(), digest_size=_PSEUDONYM_BYTES, key=_KEY).hexdigest()
