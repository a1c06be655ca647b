"""The closed vocabulary of the log: its events, their fields, and what each means and counts in.

Knows names and sentences. Must not know anything else, nor import anything beyond the standard library:
whoever reads the logs reads this file too, without installing the server.

Every line has the fields in `COMMON`, then those of its event in `EVENTS`, any of which may be absent when
there is nothing to say. Message text and secrets have no field here, so they have no place in a line.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class LogEvent(StrEnum):
    """What a line is about: the value of its field `event`."""

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
    """What an event means, and which fields its line may have besides the `COMMON` ones."""

    meaning: str
    fields: tuple[str, ...] = ()


COMMON: Final = ("ts", "level", "event", "node")
"""Fields that every line has."""

HISTOGRAMS: Final = ("accept_to_commit", "commit_to_sent", "rtt")
"""Fields whose value is a base64 HdrHistogram: for programs, not for the eye."""

FIELDS: Final[Mapping[str, str]] = {
    # on every line
    "ts": "When the line was made: ISO 8601, UTC, with microseconds.",
    "level": "How much it matters: debug, info, warning, error or critical.",
    "event": "What the line is about: one of `LogEvent`.",
    "node": "Name of the server that wrote the line (`--node`).",
    # the program
    "version": "Version of the program.",
    "pid": "Process id of the server.",
    "host": "Address the server listens on.",
    "port": "TCP port the server listens on.",
    "store": "The store in use: `memory` or the path of its file.",
    "sync": "When a commit reaches the disk itself: `normal` (within a second) or `full` (at once).",
    "epoch": "Name of the present run of seqs; it changes when seqs may have been issued anew.",
    "signal": "Name of the signal that was received.",
    "uptime_s": "Seconds since the server started.",
    # a session
    "session_id": "Public id of the session.",
    "username": "Username of the session, as it was last shown.",
    "address": "Address of the peer: host and port; of refused connections the host, of IPv6 its /64.",
    "dialect": "Dialect that the first bytes chose: ndjson, simple, text, or console for the operator.",
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
    "reason": "Why it happened: a `bye` reason, or a short word from a closed list of its event.",
    "resumed": "Whether the session has come back, rather than begun.",
    "behind": "Messages that the session has still to be fed from the log.",
    "waiting_bytes": "Bytes that wait for the peer to take them.",
    # an interval
    "held": "Sessions that are away, their names held.",
    "lagging": "Sessions that are fed from the log at the end of the interval.",
    "caught_up": "Messages fed from the log to sessions that were behind; `deliveries` counts them, too.",
    "interval_s": "Seconds that the line covers.",
    "sessions": "Sessions open at the end of the interval, or at the time of the line.",
    "deliveries": "Messages handed to members, counted once for each member.",
    "errors": "Errors answered to peers: an object from error code to count.",
    "opened": "Sessions opened.",
    "closed": "Sessions closed: an object from reason to count.",
    "refused": "Connections refused before they became sessions: an object from reason to count.",
    "accept_to_commit": "From a message's acceptance to its commit: base64 HdrHistogram in microseconds.",
    "commit_to_sent": "From a commit to the last member's send: base64 HdrHistogram in microseconds.",
    "rtt": "Round-trip times measured by ping, of all sessions: base64 HdrHistogram in microseconds.",
    "rooms": "Busiest rooms: a list of {room, messages, deliveries, accept_to_commit, commit_to_sent}.",
    "messages": "Messages committed.",
    "commits": "Batches of messages committed.",
    "loop_lag_max_ms": "Longest time by which the loop was late for a timer, in milliseconds.",
    "queue_bytes": "Bytes of messages accepted and not yet committed.",
    "store_bytes": "Size of the store's files without the write-ahead log, in bytes.",
    "wal_bytes": "Size of the store's write-ahead log, in bytes.",
    "free_bytes": "Bytes free on the disk that holds the store.",
    "rss_bytes": "Resident memory of the process, in bytes.",
    # a message
    "room": "Name of the room or conversation.",
    "seq": "Sequence number of the message in its room.",
    "message_bytes": "Length of the message's text in bytes; the text itself is never logged.",
    # trouble
    "error": "What went wrong, in words.",
    "error_type": "Class of the exception.",
    "stack": "Stack of the code concerned, innermost call last.",
    "others": "How many addresses share the line.",
    "count": "How many things the line is about; its event says which.",
    "lag_ms": "Time by which the loop was late, in milliseconds.",
    "changed": "Settings that changed: an object from name to new value.",
    "restart_needed": "Settings that were changed but take effect only after a restart: a list of names.",
    "path": "File or folder concerned.",
}

EVENTS: Final[Mapping[LogEvent, Event]] = {
    LogEvent.SERVER_STARTED: Event(
        "The server listens.", ("version", "pid", "host", "port", "store", "sync", "epoch")
    ),
    LogEvent.SERVER_STOPPING: Event(
        "The server says good-bye to everyone and writes what it holds.", ("signal", "reason", "sessions")
    ),
    LogEvent.SERVER_STOPPED: Event("The last line of a run that ended in order.", ("uptime_s", "reason")),
    LogEvent.SESSION_OPENED: Event(
        "A peer has a name and is in, or is back.",
        ("session_id", "username", "address", "dialect", "resumed"),
    ),
    LogEvent.SESSION_CLOSED: Event(
        "A session ended; the summary of all it did.",
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
        "A reader is slower than what it is sent, for a second by now: the log feeds it at its own pace.",
        ("session_id", "username", "address", "behind", "waiting_bytes", "duration_s"),
    ),
    LogEvent.READER_CAUGHT_UP: Event(
        "A reader that lagged has got everything; `messages` were fed from the log.",
        ("session_id", "username", "address", "messages", "duration_s"),
    ),
    LogEvent.INTERVAL: Event(
        "What happened since the last such line; counts and histograms of several lines may be added.",
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
        "A message was committed; only with --log-messages.",
        ("room", "seq", "session_id", "username", "message_bytes"),
    ),
    LogEvent.CONNECTION_REFUSED: Event(
        "Connections from an address were closed before they became sessions; `count` since the last "
        "interval. The worst twenty have a line each, and one without an address is for all the others.",
        ("address", "reason", "sessions", "count", "others"),
    ),
    LogEvent.CONSOLE_UNAVAILABLE: Event("The operator's seat could not be kept.", ("reason", "error")),
    LogEvent.STORE_FAILED: Event(
        "The store refused a batch; it is kept and tried again.",
        ("store", "error", "error_type", "count", "queue_bytes", "free_bytes"),
    ),
    LogEvent.STORE_RECOVERED: Event("The store takes batches again.", ("store", "duration_s")),
    LogEvent.BATCH_REFUSED: Event(
        "The store stayed away too long: senders of `count` messages were told `unavailable`.",
        ("error", "error_type", "count", "duration_s"),
    ),
    LogEvent.DISK_LOW: Event(
        "The disk that holds the store is nearly full.", ("path", "free_bytes", "store_bytes")
    ),
    LogEvent.WAL_LARGE: Event(
        "The write-ahead log grew past its bound; nothing is accepted until a checkpoint gets through.",
        ("wal_bytes", "duration_s"),
    ),
    LogEvent.EPOCH_CHANGED: Event("Seqs may have been issued anew.", ("epoch", "reason")),
    LogEvent.INDEX_FAILED: Event(
        "The store could not be maintained (checkpoint, index or retention); what is in the log is whole.",
        ("error", "error_type"),
    ),
    LogEvent.TRIMMED: Event("Messages that `count` rooms had kept too long were deleted.", ("count",)),
    LogEvent.LOOP_LAG: Event("The loop was late by more than it should be.", ("lag_ms", "sessions")),
    LogEvent.HUB_BLOCKED: Event(
        "Code kept the loop from running: first with its stack, and when it is over with how long it took.",
        ("stack", "duration_s"),
    ),
    LogEvent.STACKS: Event("The stacks of all greenlets and threads, on request.", ("stack", "signal")),
    LogEvent.LIMITS_RELOADED: Event(
        "Limits were read again and hold from now on.", ("changed", "restart_needed", "signal")
    ),
    LogEvent.LIMITS_NOT_RELOADED: Event(
        "Limits were read again, something was wrong, and the old ones stay.", ("error", "signal")
    ),
    LogEvent.LOG_REOPENED: Event(
        "The log file was opened anew, or with `error` could not be and the old one stays in use.",
        ("path", "error"),
    ),
    LogEvent.LOG_LINES_DROPPED: Event(
        "`count` lines were lost since the last such line: the log could not take them (fast enough).",
        ("count", "error"),
    ),
    LogEvent.INTERNAL_ERROR: Event(
        "A fault of ours: what was going on, and where.",
        ("error", "error_type", "stack", "session_id", "username", "address", "room"),
    ),
}
