"""Pseudonyms for names, rooms and addresses, so that a log can be shared.

The views replace them before any report sees a line. Pseudonyms are keyed hashes: without the key, names
cannot be guessed and tried. With the same key, equal names give equal pseudonyms; a conversation's room is
shown with the pseudonyms of both names.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from chat_cli import output_file
from chat_ops.log.errors import UsageError

KEY_BYTES: Final = 32
MASKED_TEXT: Final = "(masked)"
KEY_VARIABLE: Final = "anonymize_key"
"""DuckDB variable that holds the key, so that no stored SQL contains it."""

MACROS: Final = (
    f"CREATE MACRO word_for(kind, original) AS kind || substr("
    f"sha256(getvariable('{KEY_VARIABLE}') || kind || nfc_normalize(lower(original))), 1, 10);"
    "CREATE MACRO word_for_host(host) AS CASE WHEN regexp_full_match(host, '\\d+\\.\\d+\\.\\d+\\.\\d+')"
    " THEN word_for('net-', regexp_replace(host, '\\.\\d+$', '')) || '.' || substr(word_for('', host), 1, 6)"
    " ELSE word_for('net-', host) END;"
    "CREATE MACRO word_for_address(address) AS word_for_host(regexp_replace(address, ':\\d+$', ''));"
    "CREATE MACRO word_for_room(room) AS CASE WHEN starts_with(room, '@')"
    " THEN '@' || array_to_string(list_sort(list_transform("
    "string_split(regexp_replace(room[2:], '#\\d+$', ''), ','), lambda one: word_for('user-', one))), ',')"
    " || regexp_extract(room, '#\\d+$') ELSE word_for('room-', room) END"
)
"""Users are compared as the server does: NFC, ignoring case. IPv4 addresses of one /24 share a prefix. Ports
are dropped: the session's pseudonym identifies the connection."""

_ROOMS: Final = (
    "list_transform(rooms, lambda one: struct_pack(room := word_for_room(one.room), messages := one.messages,"
    " deliveries := one.deliveries, accept_to_commit := one.accept_to_commit,"
    " commit_to_sent := one.commit_to_sent))"
)


def _masked(column: str) -> str:
    return f"CASE WHEN {column} IS NOT NULL THEN '{MASKED_TEXT}' END"


EXPRESSIONS: Final[Mapping[str, str]] = {
    "username": "word_for('user-', username)",
    "session_id": "word_for('session-', session_id)",
    "address": "word_for_address(address)",
    "host": "word_for_address(host)",
    "node": "word_for('node-', node)",
    "room": "word_for_room(room)",
    "rooms": _ROOMS,
    "file": "word_for('file-', file)",
    "epoch": "word_for('epoch-', epoch)",
    **{column: _masked(column) for column in ("error", "stack", "path", "store")},
    "changed": "CASE WHEN changed IS NOT NULL THEN json_object('masked', true) END",
}
"""SQL that replaces each column with personal data. Free text (errors, stacks, paths, changed settings) is
masked completely, as it may contain names."""


def load_key(path: str | None) -> str:
    """Return the key in the file, which is created if missing; without a path, a new key for this run.

    Raises `UsageError` if the file cannot be used or the key is too short.
    """
    if path is None:
        return secrets.token_hex(KEY_BYTES)
    try:
        try:
            text = Path(path).read_text(encoding="utf-8-sig").strip()
        except FileNotFoundError:
            text = secrets.token_hex(KEY_BYTES)
            output_file.create_file(path, f"{text}\n".encode(), 0o600)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"cannot use the key in {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if len(text) < KEY_BYTES:
        raise UsageError(f"the key in {path} is too short: use {KEY_BYTES} characters or more, or a new file")
    return text
