"""The table of all metrics: name, type, unit, labels, and meaning. docs/operations.md is generated from it.

MUST NOT have labels for users, rooms or addresses: each new value would be a new time series, kept for as
long as Prometheus keeps data. Rooms and users are in the event log.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from chat_protocol.errors import ByeReason, ErrorCode


class MetricType(StrEnum):
    """Types of metrics, with Prometheus' names."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSpec(NamedTuple):
    """A row of the table.

    `field` is the field of the event log (vocabulary.py) that counts the same. `labels` are names of labels.
    If one has a closed list of values, it is in `values`, and all of them are exposed from the start, so that
    `rate()` and `increase()` see the first event, too.
    """

    name: str
    kind: MetricType
    unit: str
    meaning: str
    field: str = ""
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


OTHER: Final = "other"
"""Label value for everything outside the closed list, such as a rare socket error."""

END_REASONS: Final = (
    *(str(reason) for reason in ByeReason),
    "closed_by_peer",
    "reset",
    str(ErrorCode.BAD_FRAME),
    str(ErrorCode.INTERNAL),
    OTHER,
)
"""Reasons for the end of sessions and connections."""

ERROR_CODES: Final = (*(str(code) for code in ErrorCode), OTHER)
"""Error codes sent to peers."""

LATENCY_BOUNDS_S: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Bounds in seconds: below 50 µs nothing is wrong, above 10 s everything is. Each is at most 2.5 times the
one before, which bounds the error of a quantile; the histograms of the event log have three significant
digits."""

LAG_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds in seconds."""

COUNTER, GAUGE, HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

METRICS: Final = (
    # sessions, connections, rooms
    MetricSpec(
        "greenroom_build_info",
        GAUGE,
        "",
        "Always 1; its labels are the program's version, `--node`, the type of store and `--sync`.",
        labels=("version", "node", "store", "sync"),
    ),
    MetricSpec("greenroom_ready", GAUGE, "", "1 while `/readyz` answers 200, else 0."),
    MetricSpec("greenroom_sessions", GAUGE, "sessions", "Connected sessions.", "sessions"),
    MetricSpec(
        "greenroom_sessions_held", GAUGE, "sessions", "Disconnected sessions whose names are held.", "held"
    ),
    MetricSpec(
        "greenroom_sessions_lagging",
        GAUGE,
        "sessions",
        "Lagging sessions: they are sent messages from the log.",
        "lagging",
    ),
    MetricSpec("greenroom_sessions_opened_total", COUNTER, "sessions", "Sessions opened.", "opened"),
    MetricSpec(
        "greenroom_sessions_closed_total",
        COUNTER,
        "sessions",
        "Sessions closed, by reason.",
        "closed",
        labels=("reason",),
        values=END_REASONS,
    ),
    MetricSpec("greenroom_connections", GAUGE, "connections", "Open connections, with a name or without."),
    MetricSpec("greenroom_connections_unnamed", GAUGE, "connections", "Connections without a name yet."),
    MetricSpec("greenroom_connections_limit", GAUGE, "connections", "Maximum number of connections."),
    MetricSpec(
        "greenroom_connections_refused_total",
        COUNTER,
        "connections",
        "Connections that ended before they became sessions, by reason.",
        "refused",
        labels=("reason",),
        values=END_REASONS,
    ),
    MetricSpec("greenroom_public_rooms", GAUGE, "rooms", "Public rooms with members or messages."),
    MetricSpec("greenroom_conversations", GAUGE, "conversations", "Conversations of two that are in memory."),
    # messages
    MetricSpec("greenroom_messages_total", COUNTER, "messages", "Messages committed.", "messages"),
    MetricSpec("greenroom_commits_total", COUNTER, "commits", "Batches of messages committed.", "commits"),
    MetricSpec(
        "greenroom_deliveries_total",
        COUNTER,
        "messages",
        "Messages handed to members, counted once for each member.",
        "deliveries",
    ),
    MetricSpec(
        "greenroom_caught_up_total",
        COUNTER,
        "messages",
        "Messages sent from the log to lagging sessions; they are deliveries, too.",
        "caught_up",
    ),
    MetricSpec("greenroom_received_bytes_total", COUNTER, "bytes", "Bytes received from peers.", "bytes_in"),
    MetricSpec(
        "greenroom_sent_bytes_total",
        COUNTER,
        "bytes",
        "Bytes handed to the kernel. Answers and pings are added at the end of an interval.",
        "bytes_out",
    ),
    MetricSpec(
        "greenroom_errors_total",
        COUNTER,
        "errors",
        "Errors sent to peers, by code.",
        "errors",
        labels=("code",),
        values=ERROR_CODES,
    ),
    MetricSpec(
        "greenroom_throttled_total",
        COUNTER,
        "",
        "Times that a peer was not read for a while, because its bytes were over the rate.",
        "throttled",
    ),
    # latency
    MetricSpec(
        "greenroom_accept_to_commit_seconds",
        HISTOGRAM,
        "seconds",
        "From a message's acceptance to its commit.",
        "accept_to_commit",
        bounds=LATENCY_BOUNDS_S,
    ),
    MetricSpec(
        "greenroom_commit_to_sent_seconds",
        HISTOGRAM,
        "seconds",
        "From a commit to the last member's send, once for each room of a batch.",
        "commit_to_sent",
        bounds=LATENCY_BOUNDS_S,
    ),
    MetricSpec(
        "greenroom_rtt_seconds",
        HISTOGRAM,
        "seconds",
        "Round-trip times measured by ping, of all sessions.",
        "rtt",
        bounds=LATENCY_BOUNDS_S,
    ),
    MetricSpec(
        "greenroom_loop_lag_seconds",
        HISTOGRAM,
        "seconds",
        "Lag of the event loop, measured ten times a second in whole milliseconds; added at the end of an "
        "interval (`--log-interval`).",
        bounds=LAG_BOUNDS_S,
    ),
    # the store
    MetricSpec(
        "greenroom_store_failing",
        GAUGE,
        "",
        "1 from a failed commit to the next successful one, else 0; the store is retried once a second.",
    ),
    MetricSpec(
        "greenroom_messages_refused_total",
        COUNTER,
        "messages",
        "Messages answered with `unavailable`, because the store failed for too long.",
    ),
    MetricSpec(
        "greenroom_messages_unreadable",
        GAUGE,
        "messages",
        "Stored messages that this run has found to be damaged or missing; clients get a `gap`.",
    ),
    MetricSpec(
        "greenroom_epoch_changed",
        GAUGE,
        "",
        "1 if at this start seqs may be issued a second time (power loss, restored backup), else 0.",
    ),
    MetricSpec(
        "greenroom_queue_bytes", GAUGE, "bytes", "Messages accepted and not yet committed.", "queue_bytes"
    ),
    MetricSpec(
        "greenroom_queue_limit_bytes",
        GAUGE,
        "bytes",
        "Queue size above which sockets are not read (`--ingest-bytes`).",
    ),
    MetricSpec(
        "greenroom_store_bytes",
        GAUGE,
        "bytes",
        "Size of the store's files without the write-ahead log.",
        "store_bytes",
    ),
    MetricSpec("greenroom_wal_bytes", GAUGE, "bytes", "Size of the store's write-ahead log.", "wal_bytes"),
    MetricSpec(
        "greenroom_free_bytes", GAUGE, "bytes", "Bytes free on the disk with the store.", "free_bytes"
    ),
    MetricSpec(
        "greenroom_disk_warning_bytes",
        GAUGE,
        "bytes",
        "Free space below which the log warns (`--disk-warning-bytes`).",
    ),
    # the program
    MetricSpec(
        "greenroom_log_lines_dropped_total",
        COUNTER,
        "lines",
        "Lines of the log that were dropped, because it could not be written fast enough.",
    ),
    MetricSpec("greenroom_log_write_failures_total", COUNTER, "", "Failed writes of the log."),
    MetricSpec(
        "greenroom_snapshot_seconds",
        GAUGE,
        "seconds",
        "How long the snapshot for this page blocked the event loop.",
    ),
    MetricSpec("process_cpu_seconds_total", COUNTER, "seconds", "CPU time of the process."),
    MetricSpec(
        "process_resident_memory_bytes", GAUGE, "bytes", "Resident memory of the process.", "rss_bytes"
    ),
    MetricSpec("process_start_time_seconds", GAUGE, "seconds", "Start time of the process, since 1970."),
    MetricSpec("process_open_fds", GAUGE, "descriptors", "Open file descriptors."),
    MetricSpec("process_max_fds", GAUGE, "descriptors", "Maximum number of open file descriptors."),
)
"""The table, in the order of the page."""
