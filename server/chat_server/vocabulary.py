"""The closed vocabulary of the event log: its events, their fields, and the meaning and unit of each.

MUST NOT import anything but the standard library: log analysis imports this module without the server's
dependencies.

Every line has the fields in `COMMON`, then those of its event in `EVENTS`. A field that has no value is left
out. There is no field for message text or secrets, so neither can get into a line.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class LogEvent(StrEnum):
    """Event of a line: the value of its field `event`."""

    SERVER_STARTED = "server_started"
    SERVER_STOPPING = "server_stopping"
    SERVER_STOPPED = "server_stopped"
    SESSION_OPENED = "session_opened"
    SESSION_CLOSED = "session_closed"
    READER_LAGGING = "reader_lagging"
    READER_CAUGHT_UP = "reader_caught_up"
    INTERVAL = "interval"
    MESSAGE = "message"
    CONNECTION_REFUSED = "connection_refused"
    CONSOLE_UNAVAILABLE = "console_unavailable"
    STORE_FAILED = "store_failed"
    STORE_RECOVERED = "store_recovered"
    BATCH_REFUSED = "batch_refused"
    DISK_LOW = "disk_low"
    WAL_LARGE = "wal_large"
    EPOCH_CHANGED = "epoch_changed"
    INDEX_FAILED = "index_failed"
    INDEX_REBUILT = "index_rebuilt"
    ROW_UNREADABLE = "row_unreadable"
    FEEDING_FAILED = "feeding_failed"
    FEEDING_RECOVERED = "feeding_recovered"
    TRIMMED = "trimmed"
    LOOP_LAG = "loop_lag"
    HUB_BLOCKED = "hub_blocked"
    STACKS = "stacks"
    LIMITS_RELOADED = "limits_reloaded"
    LIMITS_NOT_RELOADED = "limits_not_reloaded"
    LOG_REOPENED = "log_reopened"
    LOG_LINES_DROPPED = "log_lines_dropped"
    INTERNAL_ERROR = "internal_error"


class Event(NamedTuple):
    """Meaning of an event, and the fields that its line may have besides the `COMMON` ones."""

    meaning: str
    fields: tuple[str, ...] = ()


COMMON: Final = ("ts", "level", "event", "node")
"""Fields of every line."""

HISTOGRAMS: Final = ("accept_to_commit", "commit_to_sent", "rtt")
"""Fields whose value is a base64 HdrHistogram; left out on a terminal."""

FIELDS: Final[Mapping[str, str]] = {
    # on every line
    "ts": "Time of the line: ISO 8601, UTC, with microseconds.",
    "level": "Severity: debug, info, warning, error or critical.",
    "event": "Name of the event: one of `LogEvent`.",
    "node": "Name of the server that wrote the line (`--node`).",
    # the program
    "version": "Version of the program.",
    "pid": "Process id of the server.",
    "host": "Address the server listens on.",
    "port": "TCP port the server listens on.",
    "store": "The store in use: `memory` or the path of its file.",
    "sync": "When a commit is synced to the disk: `normal` (within a second) or `full` (at each commit).",
    "epoch": "Id of the current run of seqs; it changes when seqs may have been issued a second time.",
    "signal": "Name of the signal received.",
    "uptime_s": "Seconds since the server started.",
    # a session
    "session_id": "Public id of the session.",
    "username": "Current username of the session.",
    "address": "Address of the peer: host and port; of refused connections the host, of IPv6 its /64.",
    "dialect": "Dialect detected from the first bytes: ndjson, simple, text; or console for the operator.",
    "duration_s": "Seconds that the session, the lag or the blockage lasted.",
    "messages_in": "Messages accepted from the peer.",
    "messages_out": "Messages delivered to the peer.",
    "bytes_in": "Bytes received.",
    "bytes_out": "Bytes handed to the kernel.",
    "rtt_min_ms": "Smallest round-trip time measured by ping, in milliseconds.",
    "rtt_p50_ms": "Median of the last 64 round-trip times measured by ping, in milliseconds.",
    "rtt_p99_ms": "The 99th percentile of the last 64 round-trip times measured by ping, in milliseconds.",
    "rtt_samples": "How many round-trip times were measured by ping.",
    "tcp_rtt_ms": "The kernel's own smoothed round-trip time (TCP_INFO), in milliseconds.",
    "reason": "Cause: a `bye` reason, or a word from a closed list of the event.",
    "resumed": "Whether the session was resumed, not opened.",
    "behind": "Messages that still have to be sent to the session from the log.",
    "waiting_bytes": "Bytes queued because the peer has not taken them yet.",
    # an interval
    "held": "Disconnected sessions whose names are held for a resume.",
    "lagging": "Lagging sessions at the end of the interval: they are sent messages from the log.",
    "caught_up": "Messages sent from the log to lagging sessions; `deliveries` counts them, too.",
    "interval_s": "Seconds covered by the line.",
    "sessions": "Sessions open at the end of the interval, or at the time of the line.",
    "deliveries": "Messages handed to members, counted once for each member.",
    "errors": "Errors sent to peers: an object from error code to count.",
    "throttled": "Times that a peer was not read for a while, because its bytes were over the rate.",
    "opened": "Sessions opened.",
    "closed": "Sessions closed: an object from reason to count.",
    "refused": "Connections that ended before they became sessions: an object from reason to count.",
    "accept_to_commit": "From a message's acceptance to its commit: base64 HdrHistogram in microseconds.",
    "commit_to_sent": "From a commit to the last member's send: base64 HdrHistogram in microseconds.",
    "rtt": "Round-trip times measured by ping, of all sessions: base64 HdrHistogram in microseconds.",
    "rooms": "Busiest rooms: a list of {room, messages, deliveries, accept_to_commit, commit_to_sent}.",
    "messages": "Messages committed.",
    "commits": "Batches of messages committed.",
    "loop_lag_max_ms": "Longest delay of the loop for a timer, in milliseconds.",
    "queue_bytes": "Bytes of messages accepted and not yet committed.",
    "store_bytes": "Size of the store's files without the write-ahead log, in bytes.",
    "wal_bytes": "Size of the store's write-ahead log, in bytes.",
    "free_bytes": "Bytes free on the disk that holds the store.",
    "rss_bytes": "Resident memory of the process, in bytes.",
    # a message
    "room": "Name of the room; of a conversation `@` and a pseudonym that lasts until the next start.",
    "seq": "Sequence number of the message in its room; of several the first.",
    "last_seq": "Sequence number of the last of several messages.",
    "message_bytes": "Length of the message's text in bytes; the text itself is never logged.",
    # trouble
    "error": "Text of the error.",
    "error_type": "Class of the exception.",
    "stack": "Stack trace, innermost call last.",
    "others": "Number of further addresses that the line counts together.",
    "count": "Number of occurrences; the event says of what.",
    "lag_ms": "Delay of the loop, in milliseconds.",
    "changed": "Settings that changed: an object from name to new value.",
    "restart_needed": "Settings that changed but take effect only after a restart: a list of names.",
    "path": "File or folder of the event.",
}

EVENTS: Final[Mapping[LogEvent, Event]] = {
    LogEvent.SERVER_STARTED: Event(
        "The server accepts connections.", ("version", "pid", "host", "port", "store", "sync", "epoch")
    ),
    LogEvent.SERVER_STOPPING: Event(
        "The server sends `bye` to all sessions and stores what is queued.", ("signal", "reason", "sessions")
    ),
    LogEvent.SERVER_STOPPED: Event(
        "Last line of a run that was asked to stop; with `signal`, a second one stopped it at once.",
        ("uptime_s", "reason", "signal"),
    ),
    LogEvent.SESSION_OPENED: Event(
        "A session was opened, or resumed.",
        ("session_id", "username", "address", "dialect", "resumed"),
    ),
    LogEvent.SESSION_CLOSED: Event(
        "A session ended; with its totals.",
        (
            "session_id",
            "username",
            "address",
            "dialect",
            "duration_s",
            "messages_in",
            "messages_out",
            "bytes_in",
            "bytes_out",
            "rtt_min_ms",
            "rtt_p50_ms",
            "rtt_p99_ms",
            "rtt_samples",
            "tcp_rtt_ms",
            "reason",
        ),
    ),
    LogEvent.READER_LAGGING: Event(
        "A session has read too slowly for a second: it is sent messages from the log, at its own pace.",
        ("session_id", "username", "address", "behind", "waiting_bytes", "duration_s"),
    ),
    LogEvent.READER_CAUGHT_UP: Event(
        "A lagging session has caught up; `messages` were sent from the log.",
        ("session_id", "username", "address", "messages", "duration_s"),
    ),
    LogEvent.INTERVAL: Event(
        "Counts since the last such line; counts and histograms of several lines may be added.",
        (
            "interval_s",
            "sessions",
            "held",
            "lagging",
            "caught_up",
            "messages",
            "commits",
            "deliveries",
            "bytes_in",
            "bytes_out",
            "errors",
            "throttled",
            "opened",
            "closed",
            "refused",
            "accept_to_commit",
            "commit_to_sent",
            "rtt",
            "rooms",
            "loop_lag_max_ms",
            "queue_bytes",
            "store_bytes",
            "wal_bytes",
            "free_bytes",
            "rss_bytes",
        ),
    ),
    LogEvent.MESSAGE: Event(
        "A message was committed; only with --log-messages. One of a conversation does not name its author.",
        ("room", "seq", "session_id", "username", "message_bytes"),
    ),
    LogEvent.CONNECTION_REFUSED: Event(
        "Connections from an address were refused; `count` since the last interval. The twenty addresses "
        "with the highest counts have a line each; one line without an address sums up the others.",
        ("address", "reason", "sessions", "count", "others"),
    ),
    LogEvent.CONSOLE_UNAVAILABLE: Event(
        "The operator's terminal is gone; the server goes on without a console.", ("reason", "error")
    ),
    LogEvent.STORE_FAILED: Event(
        "The store could not write a batch; the batch is kept and tried again.",
        ("store", "error", "error_type", "count", "queue_bytes", "free_bytes"),
    ),
    LogEvent.STORE_RECOVERED: Event("The store can write again.", ("store", "duration_s")),
    LogEvent.BATCH_REFUSED: Event(
        "The store failed for too long: the senders of `count` messages got `unavailable`.",
        ("error", "error_type", "count", "duration_s"),
    ),
    LogEvent.DISK_LOW: Event(
        "The disk with the store is nearly full.", ("path", "free_bytes", "store_bytes")
    ),
    LogEvent.WAL_LARGE: Event(
        "The write-ahead log grew past 64 MiB; commits paused for `duration_s`. `emptied`: it is short. "
        "`blocked`: another program reads the data file, so it grows; from 1 GiB on nothing is stored.",
        ("wal_bytes", "duration_s", "reason"),
    ),
    LogEvent.EPOCH_CHANGED: Event("Seqs may have been issued a second time.", ("epoch", "reason")),
    LogEvent.INDEX_FAILED: Event(
        "Maintenance of the store failed (checkpoint, index or retention); the message log is intact.",
        ("error", "error_type"),
    ),
    LogEvent.INDEX_REBUILT: Event(
        "The index was built again from the log: `missing`, `outdated` (by another version), `foreign` (of "
        "another epoch), `unfinished` (interrupted), `repaired` (of single entries), or `damaged`.",
        ("reason", "count", "duration_s"),
    ),
    LogEvent.ROW_UNREADABLE: Event(
        "Messages of the log are damaged or missing: clients get a `gap`. Or a room or session is damaged, "
        "as `error` says. Once a run for each.",
        ("room", "seq", "last_seq", "error"),
    ),
    LogEvent.FEEDING_FAILED: Event(
        "Lagging sessions cannot be sent messages, because the log cannot be read; tried again each second.",
        ("error",),
    ),
    LogEvent.FEEDING_RECOVERED: Event("Lagging sessions are sent messages again."),
    LogEvent.TRIMMED: Event("Retention deleted messages of `count` rooms.", ("count",)),
    LogEvent.LOOP_LAG: Event("The event loop was late by more than 250 ms.", ("lag_ms", "sessions")),
    LogEvent.HUB_BLOCKED: Event(
        "The event loop is blocked: a line with the stack, and one with the duration when it runs again.",
        ("stack", "duration_s"),
    ),
    LogEvent.STACKS: Event("Stacks of all greenlets and threads, on SIGUSR1.", ("stack", "signal")),
    LogEvent.LIMITS_RELOADED: Event(
        "Limits were reloaded and are in force.", ("changed", "restart_needed", "signal")
    ),
    LogEvent.LIMITS_NOT_RELOADED: Event(
        "Limits could not be reloaded; the old ones stay in force.",
        ("error", "error_type", "stack", "signal"),
    ),
    LogEvent.LOG_REOPENED: Event(
        "The log file was reopened; with `error` it could not be, and the old one stays in use.",
        ("path", "error"),
    ),
    LogEvent.LOG_LINES_DROPPED: Event(
        "`count` lines were lost since the last such line: the log could not be written, or not fast enough.",
        ("count", "error"),
    ),
    LogEvent.INTERNAL_ERROR: Event(
        "Unexpected exception in the server, with its stack and the session or connection.",
        ("error", "error_type", "stack", "session_id", "username", "address", "room"),
    ),
}
