"""Default user names: from the login name, with random suffixes for scripts."""

import getpass
import itertools
import secrets
from collections.abc import Iterator

from chat_protocol.names import MAX_NAME_CHARS, fold, is_reserved, validate_name

_SUFFIXED_NAMES = 3
_SUFFIX_CHARS = 5  # as in "-x7f2"


def default_username() -> str:
    """Return the login name, reduced to a valid chat name, else `user`."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):
        login = ""  # the container has no such user
    for start in range(len(login)):
        kept = "".join(char for char in login[start:] if char.isalnum() or char in "._-")[:MAX_NAME_CHARS]
        try:
            name = validate_name(kept)
        except ValueError:
            continue
        if not is_reserved(fold(name)):
            return name
    return "user"


def script_names(wanted: str | None) -> Iterator[str]:
    """Yield names to try: the plain one, then with random suffixes, as several scripts may run at a time."""
    base = wanted or default_username()
    yield base
    for _ in itertools.repeat(None, _SUFFIXED_NAMES):
        yield f"{base[: MAX_NAME_CHARS - _SUFFIX_CHARS]}-{secrets.token_hex(2)}"
