"""State of a server from its log lines as they arrive, in bounded memory.

Input is untrusted: bad lines are counted, values out of range count as 0.
"""

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from chat_ops.stats.histogram import SparseHistogram
from chat_server.vocabulary import HISTOGRAMS, LogEvent

HISTORY_INTERVALS: Final = 240
"""Intervals kept for the sparklines: more than the width of a terminal."""
PERCENTILE_INTERVALS: Final = 6
"""Intervals of the second row of percentiles: a minute, by default."""
MAX_NODES: Final = 32
MAX_SLOW_READERS: Final = 1000
MAX_EVENTS: Final = 50
MAX_KINDS: Final = 100
MAX_TEXT_CHARS: Final = 100
"""Bounds on what is kept of a log."""
ALWAYS_SHOWN_EVENTS: Final = frozenset(
    {LogEvent.SERVER_STARTED, LogEvent.SERVER_STOPPING, LogEvent.SERVER_STOPPED}
)
_SHOWN_LEVELS: Final = frozenset({"warning", "error", "critical"})
_NEVER_SHOWN_EVENTS: Final = frozenset({LogEvent.SESSION_OPENED, LogEvent.READER_CAUGHT_UP, LogEvent.MESSAGE})


@dataclass(frozen=True, slots=True)
class LogInterval:
    """Metrics of one interval; latencies in µs, None if nothing was measured."""

    at: datetime
    node: str
    seconds: float
    sessions: int
    messages: float
    """Per second, as all rates here."""
    deliveries: float
    bytes_in: float
    bytes_out: float
    opened: int
    closed: int
    errors: int
    refused: int
    lagging: int
    held: int
    loop_lag_ms: float
    p50: Mapping[str, float | None]
    p99: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class SlowReader:
    """A lagging reader."""

    username: str
    address: str
    behind: int
    since: datetime
    node: str


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """A log line shown in the list of events."""

    at: datetime
    level: str
    event: str
    fields: Mapping[str, Any]


class ServerSnapshot:
    """State of the followed servers; `nodes` limits it to these."""

    def __init__(self, nodes: Iterable[str] = ()) -> None:
        self.bad_lines = 0
        self.lines = 0
        self.opened = self.closed = 0  # since the last interval
        self.nodes: OrderedDict[str, LogInterval] = OrderedDict()
        self.history: deque[LogInterval] = deque(maxlen=HISTORY_INTERVALS)
        self.errors: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.events: deque[ShownEvent] = deque(maxlen=MAX_EVENTS)
        self.slow_readers: OrderedDict[str, SlowReader] = OrderedDict()
        self._wanted = frozenset(nodes)
        self._payloads: deque[Mapping[str, str]] = deque(maxlen=PERCENTILE_INTERVALS)

    def add_line(self, line: bytes) -> LogInterval | None:
        """Process a log line; return its interval if it is an interval line."""
        if not line.strip():
            return None
        try:
            fields = json.loads(line)
            at = datetime.fromisoformat(fields["ts"]).astimezone(UTC)
            event = str(fields["event"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self.bad_lines += 1
            return None
        self.lines += 1
        if self._wanted and _text(fields, "node") not in self._wanted:
            return None
        if event == LogEvent.INTERVAL:
            return self._add_interval(at, fields)
        self._add_event(at, event, fields)
        return None

    def latency(self, metric: str, last: int = PERCENTILE_INTERVALS) -> SparseHistogram:
        """Return the merged histogram of the last intervals."""
        some = list(self._payloads)[-last:]
        return SparseHistogram.merge(payloads.get(metric) for payloads in some)

    def total(self, name: str) -> float:
        """Return the sum of a metric over the last interval of each node."""
        return float(sum(getattr(interval, name) for interval in self.nodes.values()))

    def _add_interval(self, at: datetime, fields: Mapping[str, Any]) -> LogInterval:
        payloads = {name: value for name in HISTOGRAMS if isinstance(value := fields.get(name), str)}
        each = {name: SparseHistogram.merge([payload]) for name, payload in payloads.items()}
        seconds = _number(fields, "interval_s") or 1.0
        interval = LogInterval(
            at=at,
            node=_text(fields, "node"),
            seconds=seconds,
            sessions=int(_number(fields, "sessions")),
            messages=_number(fields, "messages") / seconds,
            deliveries=_number(fields, "deliveries") / seconds,
            bytes_in=_number(fields, "bytes_in") / seconds,
            bytes_out=_number(fields, "bytes_out") / seconds,
            opened=int(_number(fields, "opened")),
            closed=sum(_counts(fields, "closed").values()),
            errors=_add_counts(self.errors, _counts(fields, "errors")),
            refused=_add_counts(self.refused, _counts(fields, "refused")),
            lagging=int(_number(fields, "lagging")),
            held=int(_number(fields, "held")),
            loop_lag_ms=_number(fields, "loop_lag_max_ms"),
            p50={name: histogram.percentile(50) for name, histogram in each.items()},
            p99={name: histogram.percentile(99) for name, histogram in each.items()},
        )
        self._payloads.append(payloads)
        self.opened = self.closed = 0
        self.history.append(interval)
        self.nodes[interval.node] = interval
        if len(self.nodes) > MAX_NODES:
            self.nodes.popitem(last=False)
        return interval

    def _add_event(self, at: datetime, event: str, fields: Mapping[str, Any]) -> None:
        session, level = _text(fields, "session_id"), _text(fields, "level")
        if event == LogEvent.SESSION_OPENED:
            self.opened += 1
        elif event == LogEvent.SESSION_CLOSED:
            self.closed += 1
            self.slow_readers.pop(session, None)
        elif event == LogEvent.READER_LAGGING:
            behind = int(_number(fields, "behind"))
            username, address, node = (_text(fields, name) for name in ("username", "address", "node"))
            self.slow_readers[session] = SlowReader(username, address, behind, at, node)
            if len(self.slow_readers) > MAX_SLOW_READERS:
                self.slow_readers.popitem(last=False)
        elif event == LogEvent.READER_CAUGHT_UP:
            self.slow_readers.pop(session, None)
        elif event == LogEvent.SERVER_STARTED:
            node = _text(fields, "node")  # only this node's sessions have ended
            for one in [name for name, slow in self.slow_readers.items() if slow.node == node]:
                del self.slow_readers[one]
        if event in ALWAYS_SHOWN_EVENTS or (level in _SHOWN_LEVELS and event not in _NEVER_SHOWN_EVENTS):
            self.events.append(ShownEvent(at, level, event, _shown_fields(fields)))


def _text(fields: Mapping[str, Any], name: str) -> str:
    return str(fields.get(name, ""))[:MAX_TEXT_CHARS]


def _number(fields: Mapping[str, Any], name: str) -> float:
    """Return a field's number; 0 if it is missing or out of range."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        return 0.0
    return float(value)


def _counts(fields: Mapping[str, Any], name: str) -> dict[str, int]:
    value = fields.get(name)
    return {key: int(_number(value, key)) for key in value} if isinstance(value, dict) else {}


def _add_counts(sums: Counter[str], counts: Mapping[str, int]) -> int:
    for key, count in counts.items():
        if key in sums or len(sums) < MAX_KINDS:
            sums[key] += count
    return sum(counts.values())


def _shown_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event worth showing, shortened: a stack would fill the screen."""
    left_out = {"ts", "level", "event", "node", "stack", "session_id", "version", "pid"}
    return {
        key: value if isinstance(value, int | float) else str(value)[:MAX_TEXT_CHARS]
        for key, value in list(fields.items())[:20]
        if key not in left_out
    }
