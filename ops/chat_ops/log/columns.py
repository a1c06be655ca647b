"""Columns of the view `lines`: each field of the log's vocabulary with its DuckDB type.

A new field of the vocabulary needs a type here; until then, importing this module raises `LookupError`.
"""

from collections.abc import Mapping
from typing import Final

from chat_server.vocabulary import FIELDS, HISTOGRAMS

TEXT: Final = "VARCHAR"
INTEGER: Final = "BIGINT"
REAL: Final = "DOUBLE"
TIME: Final = "TIMESTAMP"
"""Without a zone: always UTC, as the server logs."""
COUNTS: Final = "MAP(VARCHAR, BIGINT)"
ROOMS: Final = (
    "STRUCT(room VARCHAR, messages BIGINT, deliveries BIGINT,"
    " accept_to_commit VARCHAR, commit_to_sent VARCHAR)[]"
)

_BY_NAME: Final[Mapping[str, str]] = {
    "ts": TIME,
    "resumed": "BOOLEAN",
    "errors": COUNTS,
    "closed": COUNTS,
    "refused": COUNTS,
    "rooms": ROOMS,
    "changed": "JSON",
    "restart_needed": "VARCHAR[]",
    **dict.fromkeys(HISTOGRAMS, TEXT),
    **dict.fromkeys(("level", "event", "node", "version", "host", "store", "sync", "epoch", "signal"), TEXT),
    **dict.fromkeys(("session_id", "username", "address", "dialect", "reason", "room", "path"), TEXT),
    **dict.fromkeys(("error", "error_type", "stack"), TEXT),
    **dict.fromkeys(("pid", "port", "messages_in", "messages_out", "rtt_samples", "behind"), INTEGER),
    "throttled": INTEGER,
    **dict.fromkeys(
        ("held", "lagging", "caught_up", "sessions", "deliveries", "opened", "messages"), INTEGER
    ),
    **dict.fromkeys(("commits", "seq", "last_seq", "others", "count"), INTEGER),
}
_BY_UNIT: Final[Mapping[str, str]] = {"_ms": REAL, "_s": REAL, "_bytes": INTEGER}
"""Types by the unit suffix of a field's name."""


def _column_type(field: str) -> str:
    if field in _BY_NAME:
        return _BY_NAME[field]
    if field.startswith("bytes_"):
        return INTEGER
    for ending, kind in _BY_UNIT.items():
        if field.endswith(ending):
            return kind
    raise LookupError(f"the log's field {field!r} has no type in log/columns.py")


COLUMNS: Final[Mapping[str, str]] = {field: _column_type(field) for field in FIELDS}
"""Every field of the vocabulary with the type of its column."""

FILE_COLUMN: Final = "file"
"""An additional column: the file that a line is from, as given by the user."""
