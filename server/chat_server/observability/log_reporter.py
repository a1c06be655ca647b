"""Writes the lines of the event log: sessions, intervals, errors. MUST NOT change what it reports on."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hdrh.histogram import HdrHistogram
from structlog.typing import FilteringBoundLogger

from chat_protocol.errors import ErrorCode
from chat_server.core.base.interval_stats import IntervalStats, RoomStats, Tally
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import delivered_to
from chat_server.net.connection import Connection
from chat_server.observability.logged_rooms import logged_room
from chat_server.observability.rejection_counter import RejectionCounter
from chat_server.vocabulary import LogEvent

LOWEST_US: Final = 1
HIGHEST_US: Final = 3_600_000_000
SIGNIFICANT_DIGITS: Final = 3
"""Range and precision of every histogram in the event log: 1 µs to 1 h, three significant digits."""

_scratch_histogram: Final = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
"""Shared, and reset for each use: a histogram has about 100 KiB and is in a cycle with its encoder, and
garbage collection is rare here."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def encode_histogram(tally: Tally | None) -> str | None:
    """Return a tally of microseconds as a base64 HdrHistogram (V2, compressed), None if it is empty."""
    if not tally:
        return None
    _scratch_histogram.reset()
    for value, count in tally.items():
        _scratch_histogram.record_value(min(value, HIGHEST_US), count)
    encoded: bytes = _scratch_histogram.encode()
    return encoded.decode()


class LogReporter:
    """Writes the lines about sessions and intervals, and counts rejections."""

    def __init__(
        self, log: FilteringBoundLogger, hub: Hub, disk_sizes: Callable[[], Mapping[str, int]]
    ) -> None:
        self._log = log
        self._hub = hub
        self._disk_sizes = disk_sizes
        self._interval_began_at = hub.clock.monotonic()
        self._bytes_direct_reported = 0
        self._rejections = RejectionCounter()

    def session_closed(self, connection: Connection) -> None:
        """Log the end of a session with its totals; connections without a session are only counted."""
        session = connection.session
        stats = self._hub.stats
        reason = connection.end_reason or "closed_by_peer"
        if not session.id:
            stats.refused[reason] += 1
            return
        stats.closed[reason] += 1
        messages_out, room_bytes = delivered_to(session)
        rtt = session.rtt
        self._log.info(
            LogEvent.SESSION_CLOSED,
            session_id=session.id,
            username=session.name,
            address=connection.address,
            dialect=session.encoding.dialect,
            duration_s=round(self._hub.clock.monotonic() - connection.opened_at, 3),
            messages_in=session.messages_in,
            messages_out=messages_out,
            bytes_in=connection.bytes_in,
            bytes_out=connection.outbox.bytes_direct + room_bytes,
            rtt_min_ms=round(rtt.minimum_ms, 3) if rtt else None,
            rtt_p50_ms=rtt.percentile_ms(50) if rtt else None,
            rtt_p99_ms=rtt.percentile_ms(99) if rtt else None,
            rtt_samples=rtt.count if rtt else 0,
            tcp_rtt_ms=connection.tcp_rtt_ms(),
            reason=str(reason),
        )

    def connection_failed(self, connection: Connection, error: Exception) -> None:
        """Count and log an unexpected exception with its session and connection."""
        self._hub.stats.errors[ErrorCode.INTERNAL] += 1
        self._log.error(
            LogEvent.INTERNAL_ERROR,
            exc_info=error,
            session_id=connection.session.id or None,
            username=connection.session.name or None,
            address=connection.address,
        )

    def connection_rejected(self, address: str, reason: str) -> None:
        """Count a rejected connection for the interval line and the lines of rejections."""
        self._hub.stats.refused["too_many_connections"] += 1
        self._rejections.record(address, reason)

    def write_interval(self, *, lag_max_ms: float, bytes_direct: int) -> None:
        """Log the counts since the last call, and reset them."""
        hub = self._hub
        now = hub.clock.monotonic()
        stats, hub.stats = hub.stats, IntervalStats(name for name, _ in hub.stats.busiest_rooms())
        for refused in self._rejections.take_counts():
            self._log.warning(
                LogEvent.CONNECTION_REFUSED,
                address=refused.address,
                reason=refused.reason,
                sessions=len(hub.sessions),
                count=refused.times,
                others=refused.others,
            )
        self._log.info(
            LogEvent.INTERVAL,
            interval_s=round(now - self._interval_began_at, 3),
            sessions=len(hub.sessions),
            held=hub.resumable.held_count,
            lagging=len(hub.backfill.lagging_sessions),
            caught_up=stats.caught_up,
            messages=stats.messages,
            commits=stats.commits,
            deliveries=stats.deliveries,
            bytes_in=stats.bytes_in,
            bytes_out=stats.bytes_out + bytes_direct - self._bytes_direct_reported,
            errors=with_plain_keys(stats.errors),
            throttled=stats.throttled,
            opened=stats.opened,
            closed=with_plain_keys(stats.closed),
            refused=with_plain_keys(stats.refused),
            accept_to_commit=encode_histogram(stats.accept_to_commit),
            commit_to_sent=encode_histogram(stats.commit_to_sent),
            rtt=encode_histogram(stats.rtt),
            rooms=[_room_line(name, room) for name, room in stats.busiest_rooms()],
            loop_lag_max_ms=round(lag_max_ms, 3),
            queue_bytes=hub.ingest.queued_bytes,
            rss_bytes=resident_bytes(),
            **self._sizes_on_disk(),
        )
        self._interval_began_at = now
        self._bytes_direct_reported = bytes_direct

    def _sizes_on_disk(self) -> Mapping[str, int]:
        """Return the sizes on the disk; none if the data folder has gone, which the commits report."""
        try:
            return self._disk_sizes()
        except OSError:
            return {}


def with_plain_keys(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by plain strings: on a terminal, an enumeration's member would be shown as such."""
    return {str(key): count for key, count in counts.items()}


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes (proc(5)), 0 if the system has no such file."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:  # no Linux
        return 0


def _room_line(name: str, room: RoomStats) -> dict[str, object]:
    line: dict[str, object] = {
        "room": logged_room(name),
        "messages": room.messages,
        "deliveries": room.deliveries,
    }
    for field in ("accept_to_commit", "commit_to_sent"):
        encoded = encode_histogram(getattr(room, field))
        if encoded is not None:
            line[field] = encoded
    return line
