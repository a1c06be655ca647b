"""The one table of metrics: name, type, unit, labels, and what each counts.

Knows names and closed lists of label values. Must not know where a figure comes from (metrics/snapshot.py)
nor how it is written down (metrics/exposition.py). docs/operations.md is made from it.

No label ever holds a name of a user, a room or an address: each new value would be a new series, kept by
Prometheus for as long as it keeps anything. Rooms and people are what the log is for.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from chat_protocol.errors import ByeReason, ErrorCode


class MetricType(StrEnum):
    """Types of metrics, as Prometheus calls them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSpec(NamedTuple):
    """A row of the table.

    `field` names the field of the log (vocabulary.py) that counts the same. `labels` are names; where there
    is one with a closed list, `values` has it, and all of them are there from the start, so that `rate()` and
    `increase()` see the first event, too.
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
"""Label value for what is on no list, such as a rare error of a socket."""

END_REASONS: Final = (
    *(str(reason) for reason in ByeReason),
    "closed_by_peer",
    "reset",
    str(ErrorCode.BAD_FRAME),
    str(ErrorCode.INTERNAL),
    OTHER,
)
"""Why sessions and connections end."""

ERROR_CODES: Final = (*(str(code) for code in ErrorCode), OTHER)
"""What peers are told when something is refused."""

LATENCY_BOUNDS_S: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Bounds in seconds: under 50 µs nothing is wrong, over 10 s everything is. Each is at most 2.5 times the one
before, which is what a quantile from them may be wrong by; the log's histograms have three digits."""

LAG_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds in seconds."""

COUNTER, GAUGE, HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

METRICS: Final = (
    # who is here
    MetricSpec(
        "greenroom_build_info",
        GAUGE,
        "",
        "Always 1; its labels say what runs: the program's version, `--node`, the kind of store, `--sync`.",
        labels=("version", "node", "store", "sync"),
    ),
    MetricSpec("greenroom_ready", GAUGE, "", "1 while `/readyz` says 200, else 0."),
    MetricSpec("greenroom_sessions", GAUGE, "sessions", "Sessions that are connected.", "sessions"),
    MetricSpec(
        "greenroom_sessions_held", GAUGE, "sessions", "Sessions that are away, their names held.", "held"
    ),
    MetricSpec(
        "greenroom_sessions_lagging", GAUGE, "sessions", "Sessions that are fed from the log now.", "lagging"
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
    MetricSpec("greenroom_connections_unnamed", GAUGE, "connections", "Connections that have no name yet."),
    MetricSpec("greenroom_connections_limit", GAUGE, "connections", "How many connections there may be."),
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
    # what is said
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
        "Messages fed from the log to sessions that were behind; they are deliveries, too.",
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
        "Errors answered to peers, by code.",
        "errors",
        labels=("code",),
        values=ERROR_CODES,
    ),
    # how fast
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
        "How late the loop came for a timer, ten times a second, in whole milliseconds; added at the end of "
        "an interval (`--log-interval`).",
        bounds=LAG_BOUNDS_S,
    ),
    # the store
    MetricSpec(
        "greenroom_store_failing",
        GAUGE,
        "",
        "1 from a batch that the store refused to the next that it takes, else 0; it is tried once a second.",
    ),
    MetricSpec(
        "greenroom_messages_refused_total",
        COUNTER,
        "messages",
        "Messages whose senders were told `unavailable`, because the store stayed away too long.",
    ),
    MetricSpec(
        "greenroom_epoch_changed",
        GAUGE,
        "",
        "1 if this start found that seqs may be given out anew (lost power, a restored copy), else 0.",
    ),
    MetricSpec(
        "greenroom_queue_bytes", GAUGE, "bytes", "Messages accepted and not yet committed.", "queue_bytes"
    ),
    MetricSpec(
        "greenroom_queue_limit_bytes", GAUGE, "bytes", "Beyond this, sockets are not read (`--ingest-bytes`)."
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
        "greenroom_free_bytes", GAUGE, "bytes", "Free on the disk that holds the store.", "free_bytes"
    ),
    MetricSpec(
        "greenroom_disk_warning_bytes",
        GAUGE,
        "bytes",
        "Free space under which the log warns (`--disk-warning-bytes`).",
    ),
    # the program
    MetricSpec(
        "greenroom_log_lines_dropped_total",
        COUNTER,
        "lines",
        "Lines of the log that were lost, because nothing took them fast enough.",
    ),
    MetricSpec("greenroom_log_write_failures_total", COUNTER, "", "Writes of the log that failed."),
    MetricSpec(
        "greenroom_snapshot_seconds",
        GAUGE,
        "seconds",
        "How long the loop was held to take the figures of this page.",
    ),
    MetricSpec("process_cpu_seconds_total", COUNTER, "seconds", "CPU time of the process."),
    MetricSpec(
        "process_resident_memory_bytes", GAUGE, "bytes", "Resident memory of the process.", "rss_bytes"
    ),
    MetricSpec("process_start_time_seconds", GAUGE, "seconds", "When the process started, since 1970."),
    MetricSpec("process_open_fds", GAUGE, "descriptors", "Open file descriptors."),
    MetricSpec("process_max_fds", GAUGE, "descriptors", "How many file descriptors may be open."),
)
"""The table."""
